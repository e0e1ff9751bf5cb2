"""A plug-in for SkinFlow: PaliGemma as a base model, with a tower that can be made dynamic."""

from skinflow_plugins import hookimpl
from skinflow_plugins.models import BaseFamily, VisionSeam

paligemma = BaseFamily(
    name="paligemma",
    summary="PaliGemma: a SigLIP tower at one resolution, one linear projector, Gemma",
    hf_model_type="paligemma",
    architectures=("PaliGemmaForConditionalGeneration",),
    swift_model_type="paligemma",
    swift_template="paligemma",
    image_placeholders=("<image>",),
    vision_tower="model.vision_tower",
    hub_ids=r"paligemma2?-\d+b-.*",
    seam=VisionSeam(
        blocks="encoder.layers",
        projections={"up": "fc1", "down": "fc2"},
        activation="activation_fn",
        depth="num_hidden_layers",
        images="rows",
    ),
)


@hookimpl
def skinflow_base_models():
    return [paligemma]
