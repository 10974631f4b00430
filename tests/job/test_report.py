"""The report of a job: one file, offline and inert, that tells what the job found, whatever names it holds."""

import base64
import dataclasses
import html
import html.parser
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import browse, needs_chromium
from fakes import QUICK, named_source
from PIL import Image

from scalepred.data.task import read_task
from scalepred.errors import UsageError
from scalepred.job.choose import Prediction, given
from scalepred.job.finetune import finetune_once, probe_once
from scalepred.job.options import JobOptions
from scalepred.job.output import check_free
from scalepred.job.report import job_report
from scalepred.job.report_html import check_page, render, write_page
from scalepred.job.report_parts import confusion_part, gallery_of, rows_part
from scalepred.job.scored import Scored
from scalepred.job.setup import Setup, with_all_images
from scalepred.job.tools import Tools
from scalepred.predictor.choice import Choice
from scalepred.training.critical import CriticalRate

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute

CPU = torch.device("cpu")
HOSTILE = (
    "<script>document.title='owned'</script>",
    '"onload="alert(1)',
    "]]><svg onload=alert(2)>",
    "=1+1",
    "two\nlines \U0001f408 \u202egnp",
    "{{ 7 * 7 }}</style>",
)
MOST_BYTES = 2_000_000


def write_hostile(folder, n=12):
    """Write a manifest with hostile class names, whose images differ by brightness, two of them labelled wrongly."""
    rng = np.random.default_rng(0)
    rows = []
    for level, name in enumerate(HOSTILE):
        for index in range(n):
            shown = (level + 3) % len(HOSTILE) if index == 0 and level < 2 else level
            pixels = rng.integers(40 * shown, 40 * shown + 25, size=(24, 24, 3)).astype(np.uint8)
            path = folder / f"{level}-{index}.png"
            folder.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(path)
            quoted = name.replace('"', '""')
            rows.append(f'{path.name},"{quoted}"')
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "manifest.csv").write_text("\n".join(["path,label", *rows, "broken.png,=1+1", ""]), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    task = read_task(write_hostile(tmp_path_factory.mktemp("data") / "names"), image_px=24)
    tools = Tools(source=named_source(), recipe=dataclasses.replace(QUICK, image_px=24, epochs=2), recipe_name="quick",
                  device=CPU, asked=None)  # fmt: skip
    return Setup(task=task, tools=tools, dtype=torch.float32, scan_seconds=0.5)


LINE = CriticalRate(
    factor=8.0, minimum=4.0, depth=0.5, loss=1.6, spread=0.0, lines=(),
    curve=((0.0, 1.6), (1.0, 1.2), (4.0, 0.8), (8.0, 1.6), (16.0, float("inf"))),
)  # fmt: skip
CHOICE = Choice(
    scale=2.0, by="predicted", reason="<b>because</b>", fixed_scale=1.0, curve=((1.0, -0.01), (2.0, 0.02), (4.0, -0.01))
)


@pytest.fixture(scope="module")
def job(setup, tmp_path_factory):
    output = tmp_path_factory.mktemp("job") / "model"
    prediction = Prediction(choice=CHOICE, features={}, seconds=0.25, lines={"noise": LINE})
    command = "scalepred finetune names --auto --log-to mlflow:https://me:secret@host/x"
    return finetune_once(setup, prediction, JobOptions(command=command), output=output)


@pytest.fixture(scope="module")
def page(job):
    return (job.output / "report.html").read_text(encoding="utf-8")


class Parsed(html.parser.HTMLParser):
    """Everything that a browser would find in a page: tags with their attributes, and the text between."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def parsed(page):
    return Parsed(page)


def section(page, name):
    return re.search(rf'<section id="{name}">(.*?)</section>', page, re.DOTALL)[1]


def test_a_report_is_one_file_that_fetches_and_runs_nothing(page, parsed):
    assert parsed.open == []
    names = {tag for tag, _ in parsed.tags}
    assert names & {"script", "link", "iframe", "object", "embed", "form", "a", "base"} == set()
    assert [key for _, given in parsed.tags for key in given if key.startswith("on")] == []
    assert {value[:23] for tag, given in parsed.tags if tag == "img" for value in [given["src"]]} == {
        "data:image/jpeg;base64,"
    }
    policy = next(
        given["content"] for tag, given in parsed.tags if given.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    assert "url(" not in page
    assert "@import" not in page
    assert len(page.encode()) < MOST_BYTES


def test_hostile_names_are_shown_as_they_are_and_are_text(parsed):
    for name in HOSTILE[:4]:
        assert name in parsed.text
    assert "two\\nlines \U0001f408 \\u202egnp" in parsed.text
    assert "{{ 7 * 7 }}</style>" in parsed.text


def test_it_tells_the_accuracies_that_the_job_has(job, page):
    told = section(page, "accuracy")
    assert f"{100 * job.test_accuracy:.1f} %" in told
    assert f"{100 * job.probe.test_accuracy:.1f} %" in told
    assert "always the largest class" in told
    assert "16.7 %" in told  # guessing evenly among six


def test_it_tells_the_scale_its_reason_and_its_curves(page):
    told = section(page, "scale")
    assert "It was predicted: &lt;b&gt;because&lt;/b&gt;." in told
    assert told.count("<svg") == 2
    assert "chosen: 2" in told
    assert "critical, new head: 8" in told


def test_its_training_has_a_loss_for_each_epoch_and_a_line_for_each_stage_that_learns(job, page):
    loss, rates = re.findall(r"<figure>(.*?)</figure>", section(page, "training"), re.DOTALL)
    assert loss.count("<circle") == len(job.run.epoch_losses) == 2
    assert re.findall(r"</svg>(\w+)</li>", rates) == ["conv2", "conv3", "conv4", "conv5", "head"]
    assert "Frozen: conv1" in rates


def test_the_cells_of_the_confusion_matrix_add_up_to_the_test_images(job, page):
    table = re.search(r'<table class="matrix">(.*?)</table>', section(page, "confusion"), re.DOTALL)[1]
    counts = [int(cell or 0) for cell in re.findall(r"<td[^>]*>(\d*)</td>", table)]
    assert (len(counts), sum(counts)) == (36, job.task.record.n_test)
    own = [int(cell) for cell in re.findall(r'class="own">(\d*)</td>', table)]
    assert sum(own) / sum(counts) == pytest.approx(job.test_accuracy)


def test_its_thumbnails_are_small_images_that_decode(page):
    images = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    assert 8 <= len(images) <= 40
    for each in images:
        image = Image.open(io.BytesIO(base64.b64decode(each)))
        assert image.format == "JPEG"
        assert max(image.size) <= 112


def test_labels_that_are_wrong_are_among_those_that_are_likely_wrong(job, page):
    wrong = {"0-0.png", "1-0.png"} & {Path(path).name for path in job.task.train.paths}
    gallery = section(page, "images")
    suspects = gallery.partition("Labels that are likely wrong")[2].partition("Images that repeat")[0]
    assert wrong
    assert wrong <= set(re.findall(r"[\d]-[\d]+\.png", suspects))


def test_it_tells_what_was_skipped_how_it_was_made_and_no_password(job, page):
    assert "broken.png: not an image of" in section(page, "data")
    made = section(page, "made")
    for each in (job.run.run_id, job.run.task_id, job.run.recipe_id, job.run.source_id, "torch", "quick"):
        assert each in made
    assert "scalepred finetune names --auto --log-to mlflow:https://…@host/x" in made
    assert "secret" not in page


def test_it_tells_the_calibration(job, page):
    told = section(page, "probabilities")
    if job.calibration.note:
        assert job.calibration.note in told
    else:
        assert f"temperature {job.calibration.temperature:.2f}" in told
        assert "Reliability" in told


def test_a_probe_has_a_report_without_scale_and_curves(setup, tmp_path):
    probe_once(setup, JobOptions(), output=tmp_path / "model")
    page = (tmp_path / "model" / "report.html").read_text(encoding="utf-8")
    assert "scalepred: a linear probe" in page
    assert 'id="scale"' not in page
    assert 'id="training"' not in page
    assert 'id="confusion"' in page
    assert Parsed(page).open == []


def test_a_job_that_holds_nothing_out_says_that_nothing_was_measured(setup, tmp_path):
    prediction = Prediction(choice=given(1.0), features={}, seconds=0.0)
    job = finetune_once(with_all_images(setup), prediction, JobOptions(), output=tmp_path / "model")
    page = (job.output / "report.html").read_text(encoding="utf-8")
    assert "No image was held out, so nothing was measured." in page
    assert 'id="confusion"' not in page
    assert "likely wrong" in page  # by the probe, on training images


def test_images_that_repeat_others_in_another_split_come_first(setup, job):
    test, train = setup.task.test, setup.task.train
    hashes = (train.hashes[3], *test.hashes[1:])
    images = np.concatenate([train.images[3:4], test.images[1:]])
    test = dataclasses.replace(test, images=images, hashes=hashes)
    twins = dataclasses.replace(job, task=dataclasses.replace(setup.task, test=test))
    page = job_report(twins, setup, {})
    told = section(page, "images").partition("Images that repeat others")[2]
    assert re.search(r"\d+ in another split", told)
    first = re.search(r"<span>(.*?)</span>", told.partition("</div>")[2])[1]
    assert first.startswith("the same: train, ")
    assert " and test, " in first


@pytest.mark.parametrize("n_classes", [2, 40, 300])
def test_few_and_many_classes_can_be_read(n_classes):
    rng = np.random.default_rng(0)
    n = 4 * n_classes
    scored = Scored(
        classes=tuple(f"class {at}" for at in range(n_classes)),
        labels=rng.integers(0, n_classes, n),
        probabilities=rng.dirichlet(np.ones(n_classes), n),
        images=rng.integers(0, 255, (n, 3, 16, 16)).astype(np.uint8),
        paths=tuple(map(str, range(n))),
        split="test",
    )
    part = confusion_part(scored)
    assert (part["matrix"] is not None) == (n_classes <= 15)
    assert part["pairs"]
    assert len(part["pairs"]) <= 20
    assert len(rows_part(scored)) == n_classes
    assert all(len(group["images"]) <= 8 for group in gallery_of(scored))


def test_a_report_that_cannot_be_written_says_so(tmp_path):
    with pytest.raises(UsageError, match=r"can't be written to .*: Is a directory. Give another place for it\."):
        write_page(tmp_path, "x")
    with pytest.raises(UsageError, match=r"A report is an HTML file, not .*x\.pdf: give a name that ends in \.html"):
        check_page(tmp_path / "x.pdf")
    with pytest.raises(UsageError, match="There is no folder"):
        check_page(tmp_path / "nowhere" / "x.html")


def test_a_report_of_something_else_is_never_overwritten(tmp_path):
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(UsageError, match=r"holds no model of scalepred, but has report\.html already"):
        check_free(tmp_path, overwrite=True)


def test_what_a_template_lacks_is_an_error_and_no_gap():
    with pytest.raises(Exception, match="is undefined"):
        render("job.html", {"title": "x"})


# --- in a browser -----------------------------------------------------------------------------------------------------


@needs_chromium
def test_a_browser_shows_it_without_an_error_and_runs_none_of_the_names(job, tmp_path):
    shown = browse(job.output / "report.html", tmp_path)
    assert "CONSOLE" not in shown.stderr
    dom = shown.stdout
    assert "<title>Classifier of names</title>" in dom
    assert "<script" not in dom.replace("&lt;script", "")
    assert re.findall(r"<[^>]*\sonload=", dom) == []
    assert dom.count("<svg") >= 4


@needs_chromium
def test_a_browser_would_tell_if_a_name_ran(tmp_path):
    bad = "<title>a</title><script>console.error('it ran')</script>"
    (tmp_path / "bad.html").write_text(bad)
    assert "it ran" in browse(tmp_path / "bad.html", tmp_path).stderr


@needs_chromium
@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_the_window(job, tmp_path, width):
    page = (job.output / "report.html").read_text(encoding="utf-8")
    probe = "<script>document.title = document.documentElement.scrollWidth + ' of ' + innerWidth</script>"
    open_page = re.sub(r"<meta http-equiv[^>]*>", "", page).replace("</body>", f"{probe}</body>")
    framed = f'<iframe style="width:{width}px;height:600px;border:0" srcdoc="{html.escape(open_page)}"></iframe>'
    tell = "<script>onload = () => document.title = frames[0].document.title</script>"
    (tmp_path / "framed.html").write_text(f'<meta charset="utf-8"><body>{framed}{tell}', encoding="utf-8")
    shown = browse(tmp_path / "framed.html", tmp_path, "--virtual-time-budget=4000").stdout
    scroll, inner = map(int, re.search(r"<title>(\d+) of (\d+)</title>", shown).groups())
    assert inner == width
    assert scroll <= width
