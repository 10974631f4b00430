"""The families of sources, by their names."""

import json

import pytest

from scalepred.errors import WeightsError
from scalepred.networks.names import family_of


@pytest.mark.parametrize(
    ("source", "family"),
    [
        ("efficientnet_lite0", "efficientnet"),
        ("timm/tf_efficientnet_lite2.in1k", "efficientnet"),
        ("timm/efficientnetv2_rw_t", "efficientnet"),
        ("resnet27/16", "resnet27"),
        ("timm/convnext_atto", "convnext"),
        ("timm/convnextv2_atto.fcmae", "convnext"),
        ("timm/vit_tiny_patch16_224", "vit"),
        ("timm/deit_tiny_patch16_224", "vit"),
        ("timm/mobilenetv3_small_050", "mobilenet"),
        ("torchvision/mobilenet_v2", "mobilenet"),
        ("torchvision/regnet_y_400mf", "regnet"),
        ("timm/regnety_002", "regnet"),
        ("timm/resnet18.a1_in1k", "resnet"),
        ("timm/test_resnet", "resnet"),
        ("torchvision/wide_resnet50_2", "resnet"),
        ("timm/resnetv2_50", "resnet"),
        ("timm/densenet121", "densenet"),
        ("timm/ghostnetv2_100", "ghostnet"),
        ("timm/repvgg_a0", "repvgg"),
    ],
)
def test_a_sources_family_follows_from_its_architectures_name(source, family):
    assert family_of(source) == family


def test_the_family_of_a_trained_source_is_that_of_the_architecture_in_its_folder(tmp_path):
    for architecture, family in (("resnet27/8", "resnet27"), ("timm/convnext_femto", "convnext")):
        (tmp_path / "source.json").write_text(json.dumps({"name": "icons", "architecture": architecture}))
        assert family_of(str(tmp_path)) == family


@pytest.mark.parametrize("text", ["{", "{}", "[]"])
def test_a_folder_that_does_not_say_its_architecture_is_refused(tmp_path, text):
    (tmp_path / "source.json").write_text(text)
    with pytest.raises(WeightsError, match="Give a folder that `scalepred pretrain` has written"):
        family_of(str(tmp_path))
