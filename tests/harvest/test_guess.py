"""Where a point's scales are guessed to lie, and that the guess is kept."""

import dataclasses

import pytest
from fakes import QUICK

from scalepred.harvest.guess import Guesses, guess_of
from scalepred.predictor.context import start_set
from scalepred.recipe import Recipe
from scalepred.records import FeatureRecord
from scalepred.store.journal import Journal

SGD = dataclasses.replace(QUICK, base_lr=2.0**-10, momentum=0.75)
ADAMW = dataclasses.replace(SGD, optimizer="adamw")
FACTS = {"noise_is_placed": 1.0, "noise_log2_critical": -4.0, "half_is_placed": 1.0, "half_log2_critical": -7.0}


@pytest.mark.parametrize(
    ("recipe", "facts", "octave"),
    [
        (ADAMW, {"noise_log2_critical": -4.0, "half_log2_critical": 5.0}, -4 - 2 + 10),
        (ADAMW, {"noise_log2_critical": -4.6}, 3),
        (SGD, {"noise_log2_critical": -4.0, "half_log2_critical": -8.0}, -6 - 2 + 10),
        (SGD, {"noise_log2_critical": -4.0}, -4 - 2 + 10),
        (dataclasses.replace(SGD, momentum=0.0), {"noise_log2_critical": -4.0, "half_log2_critical": -8.0}, -6 + 10),
        (dataclasses.replace(SGD, base_lr=2.0**-6), {"noise_log2_critical": -4.0}, -4 - 2 + 6),
        (SGD, {"half_log2_critical": -8.0}, 0),
        (ADAMW, {"noise_is_placed": 0.0}, 0),
    ],
)
def test_a_guess_follows_from_the_critical_rates_and_is_scale_1_without_any(recipe, facts, octave):
    assert guess_of(facts, recipe) == octave


def test_a_guess_is_kept_whatever_other_facts_say_later(tmp_path):
    guesses = Guesses(Journal(tmp_path))
    assert guesses.find("task", "source", SGD, is_measured=False) is None
    assert guesses.take("task", "source", SGD, FACTS) == guess_of(FACTS, SGD)
    again = Guesses(Journal(tmp_path))
    assert again.find("task", "source", SGD, is_measured=True) == guess_of(FACTS, SGD)
    others = [("other", "source", SGD), ("task", "other", SGD), ("task", "source", ADAMW)]
    assert [again.find(*other, is_measured=False) for other in others] == [None] * 3


def journal_with(folder, facts, recipe=SGD):
    journal = Journal(folder)
    for name, value in facts.items():
        ids = {"task_id": "task", "source_id": "source", "feature_set": start_set(recipe)}
        journal.add(FeatureRecord(**ids, name=name, value=value, seconds=0.0))
    return journal


def test_a_guess_of_stored_facts_is_that_of_fresh_ones_where_the_critical_rate_lies_far_above_the_minimum(tmp_path):
    facts = FACTS | {"noise_log2_critical": 6.0, "noise_log2_minimum": -9.0, "half_log2_minimum": -9.0}
    guesses = Guesses(journal_with(tmp_path, facts, ADAMW))
    assert guesses.find("task", "source", ADAMW, is_measured=True) == guess_of(facts, ADAMW) == -9 + 5 - 2 + 10


def test_a_guess_that_was_never_noted_follows_from_facts_that_are_stored(tmp_path):
    guesses = Guesses(journal_with(tmp_path, FACTS))
    assert guesses.find("task", "source", SGD, is_measured=True) == guess_of(FACTS, SGD)
    assert Guesses(Journal(tmp_path)).find("task", "source", SGD, is_measured=False) == guess_of(FACTS, SGD)


@pytest.mark.parametrize("lost", sorted(FACTS))
def test_no_guess_is_made_of_half_of_the_facts(tmp_path, lost):
    facts = {name: value for name, value in FACTS.items() if name != lost}
    assert Guesses(journal_with(tmp_path, facts)).find("task", "source", SGD, is_measured=True) is None


def test_a_start_without_a_critical_rate_is_known_to_have_none(tmp_path):
    journal = journal_with(tmp_path, {"noise_is_placed": 0.0, "half_is_placed": 0.0})
    assert Guesses(journal).find("task", "source", Recipe(), is_measured=True) is None
    assert Guesses(journal).find("task", "source", SGD, is_measured=True) == 0
