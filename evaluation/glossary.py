"""The report's words for somebody who never saw the project."""

WORDS = {
    "LoRA": (
        "A small file of extra weights that changes what an image model paints;"
        " here it was trained on pictures of a style."
    ),
    "Base": (
        "The image model as it is without the LoRA. Both paint from the same random noise, so what differs is"
        " the LoRA's doing."
    ),
    "Seed": "The number of the random noise that a picture starts from.",
    "CLIP": (
        "A model that says how well a picture fits some words, or another picture. It is a measuring tool, no"
        " judge of beauty."
    ),
    "CLIP score": (
        "100 × CLIP's agreement of picture and words; higher is more. It has no natural zero, so only differences"
        " mean something."
    ),
    "95 % interval": (
        "Other prompts and other noise would have given other figures; the range in brackets is where the true one"
        " is expected. Where the range of a difference holds zero, the report says “no difference shown”: that is"
        " no proof that there is none."
    ),
    "CMMD": (
        "How far all pictures together are from pictures of the style (Jayasumana et al. 2024); lower is nearer."
    ),
    "Held-out pictures": "Pictures of the style that the LoRA was never trained on.",
}
