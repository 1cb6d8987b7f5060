"""The hub, by a double on loopback: what is fetched of each layout and what isn't, and what each failure says."""

import ast
import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import nbformat
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from evaluation.clip import Clip, load_clip
from foundation.hub_download import get_again
from lightning_modules.base.files import config_folder, open_base
from lightning_modules.base.loading import Components, load_components, quiet_libraries
from lightning_modules.memory.shapes import shapes_of
from lightning_modules.stable_diffusion_lora import StableDiffusionLora
from tests.callbacks.tiny_clip import save_tiny_clip
from tests.hub_double import Claimed, Files, HubDouble, Trouble, files_of, hub_in_place, point_at
from tests.ldm_checkpoint import save_ldm_checkpoint
from tests.notebook_run import NOTEBOOK
from tests.small_run import picture_folder, small_config
from train import main

NAME = "owner/model"
WEIGHTS = [
    "text_encoder/model.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
]
PARTS = ("unet", "vae", "text_encoder")
OLD_VAE_NAMES = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}


def published(base: Path, folder: Path) -> Path:
    """A base as waifu-diffusion/wd-1-5-beta2 lies on the hub: written by diffusers 0.13 and transformers 4.26."""
    shutil.copytree(base, folder)
    vae = load_file(folder / WEIGHTS[2])
    for new, old in OLD_VAE_NAMES.items():
        vae = {name.replace(new, old): tensor for name, tensor in vae.items()}
    save_file(vae, folder / WEIGHTS[2], {"format": "pt"})
    text = load_file(folder / WEIGHTS[0])
    text = {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in text.items()}
    text["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(text, folder / WEIGHTS[0], {"format": "pt"})
    tokenizer = folder / "tokenizer"
    model = json.loads((tokenizer / "tokenizer.json").read_text())["model"]
    (tokenizer / "tokenizer.json").unlink()
    (tokenizer / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = [" ".join(pair) for pair in model["merges"]]
    (tokenizer / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    scheduler = folder / "scheduler/scheduler_config.json"
    changed = json.loads(scheduler.read_text()) | {"_class_name": "PNDMScheduler", "skip_prk_steps": True}
    scheduler.write_text(json.dumps(changed))
    index = json.loads((folder / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def unwanted() -> Files:
    """What else lies in that repository, with its sizes in bytes."""
    return {
        "safety_checker/config.json": Claimed(4_900),
        "safety_checker/model.safetensors": Claimed(1_220_000_000),
        "feature_extractor/preprocessor_config.json": Claimed(500),
        "checkpoints/wd-1-5-beta2-fp32.safetensors": Claimed(5_160_000_000),
        "checkpoints/wd-1-5-beta2-fp32.yaml": Claimed(1_800),
        "checkpoints/wd-1-5-beta2-aesthetic-fp32.safetensors": Claimed(5_160_000_000),
        "README.md": Claimed(3_000),
    }


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubDouble]:
    with hub_in_place(tmp_path / "cache") as double:
        yield double


@pytest.fixture
def files(tiny_base: Path) -> dict[str, bytes | Claimed]:
    """The tiny base's files."""
    return files_of(tiny_base)


@pytest.fixture(scope="module")
def clip_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes | Claimed]:
    return files_of(save_tiny_clip(tmp_path_factory.mktemp("clip")))


def tokenized(parts: Components) -> list[int]:
    ids: list[int] = parts.text_encoders.tokenizer("a girl").input_ids
    return ids


def network(parts: Components, name: str) -> Any:
    return parts.text_encoders[name] if name == "text_encoder" else getattr(parts, name)


def same_networks(one: Any, other: Any, tolerance: float = 0) -> None:
    for part in PARTS:
        states = [network(parts, part).state_dict() for parts in (one, other)]
        assert states[0].keys() == states[1].keys()
        for name, tensor in states[0].items():
            assert torch.allclose(tensor, states[1][name], rtol=tolerance, atol=tolerance), (part, name)


# ---------------------------------------------------------------------- what is fetched


def test_of_the_real_layout_comes_what_training_reads_and_nothing_else(
    hub: HubDouble, tiny_base: Path, tmp_path: Path
) -> None:
    small = files_of(published(tiny_base, tmp_path / "published"))
    hub.models[NAME] = {**small, **unwanted()}
    configs = config_folder(NAME, None)
    assert sorted(hub.fetched()) == sorted(set(small) - set(WEIGHTS))
    found = load_components(NAME)
    assert sorted(hub.fetched()) == sorted(small)
    same_networks(found, load_components(str(tiny_base)))
    assert tokenized(found) == tokenized(load_components(str(tiny_base)))
    assert found.prediction_type == "v_prediction"
    hub.asked.clear()
    load_components(NAME)
    assert config_folder(NAME, None) == configs
    assert hub.asked == []


@pytest.mark.parametrize("at_first", [{}, {"HF_HUB_OFFLINE": True}])
def test_a_whole_cache_needs_no_hub(
    hub: HubDouble, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_first: dict[str, bool]
) -> None:
    hub.models[NAME] = files
    first = load_components(NAME)
    point_at("http://127.0.0.1:9", tmp_path / "cache", monkeypatch)
    for name, value in at_first.items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    same_networks(load_components(NAME), first)


def half(files: Files, dtype: torch.dtype, folder: Path) -> dict[str, bytes]:
    """The weights in 16 bits, by the names of the whole ones."""
    found = {}
    for name in WEIGHTS:
        (folder / "whole").write_bytes(content_of(files, name))
        tensors = load_file(folder / "whole")
        save_file(
            {
                key: tensor.to(dtype) if tensor.is_floating_point() else tensor
                for key, tensor in tensors.items()
            },
            folder / "half",
            {"format": "pt"},
        )
        found[name] = (folder / "half").read_bytes()
    return found


def content_of(files: Files, name: str) -> bytes:
    content = files[name]
    assert isinstance(content, bytes)
    return content


def pickled(files: Files, folder: Path) -> dict[str, bytes]:
    """The weights as pickles, by the names that both libraries give them."""
    found = {}
    for name in WEIGHTS:
        (folder / "whole").write_bytes(content_of(files, name))
        torch.save(load_file(folder / "whole"), folder / "pickle")
        pickle_name = name.replace("model.safetensors", "model.bin").replace(
            "encoder/model", "encoder/pytorch_model"
        )
        found[pickle_name] = (folder / "pickle").read_bytes()
    return found


def marked(weights: dict[str, bytes], variant: str) -> dict[str, bytes]:
    return {re.sub(r"(\.\w+)$", rf".{variant}\1", name): content for name, content in weights.items()}


@pytest.mark.parametrize(
    ("layout", "tolerance"),
    [
        ("pickles", 0),
        ("both", 0),
        ("fp16 beside", 0),
        ("fp16 alone", 1e-3),
        ("bf16 alone", 1e-2),
        ("fp16 beside pickles", 1e-3),
        ("fp16 pickles alone", 1e-3),
        ("non_ema beside", 0),
    ],
)
def test_of_several_forms_of_the_weights_one_is_fetched(
    hub: HubDouble, files: Files, tiny_base: Path, tmp_path: Path, layout: str, tolerance: float
) -> None:
    safe = {name: content_of(files, name) for name in WEIGHTS}
    pickles = pickled(files, tmp_path)
    fp16 = marked(half(files, torch.float16, tmp_path), "fp16")
    forms: dict[str, tuple[dict[str, bytes], dict[str, bytes]]] = {
        "pickles": (pickles, {}),
        "both": (safe, pickles),
        "fp16 beside": (safe, fp16),
        "fp16 alone": (fp16, {}),
        "bf16 alone": (marked(half(files, torch.bfloat16, tmp_path), "bf16"), {}),
        "fp16 beside pickles": (fp16, pickles),
        "fp16 pickles alone": (
            marked(pickled({**files, **half(files, torch.float16, tmp_path)}, tmp_path), "fp16"),
            {},
        ),
        "non_ema beside": (safe, marked(safe, "non_ema")),
    }
    wanted, left = forms[layout]
    settings = {name: content for name, content in files.items() if name not in WEIGHTS}
    hub.models[NAME] = {**settings, **wanted, **{name: Claimed(10**9) for name in left}}
    found = load_components(NAME)
    assert sorted(hub.fetched()) == sorted({**settings, **wanted})
    same_networks(found, load_components(str(tiny_base)), tolerance)


def test_weights_in_several_parts_come_with_their_list(
    hub: HubDouble, tiny_base: Path, tmp_path: Path
) -> None:
    base = load_components(str(tiny_base))
    folder = Path(shutil.copytree(tiny_base, tmp_path / "parts"))
    (folder / WEIGHTS[1]).unlink()
    base.unet.save_pretrained(folder / "unet", max_shard_size="2MB")
    assert len(list((folder / "unet").glob("*.safetensors"))) == 2
    hub.models[NAME] = files_of(folder)
    same_networks(load_components(NAME), base)


def test_16_bit_files_alone_in_a_folder_are_read(files: Files, tiny_base: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_base, tmp_path / "halves"))
    for name, content in marked(half(files, torch.float16, tmp_path), "fp16").items():
        (folder / name).write_bytes(content)
    for name in WEIGHTS:
        (folder / name).unlink()
    halves, whole = load_components(str(folder)), load_components(str(tiny_base))
    same_networks(halves, whole, 1e-3)
    assert (halves.variant, whole.variant) == ("fp16", None)
    module = StableDiffusionLora(str(folder), resolution=64)
    module.configure_model()
    with safe_open(module.export_lora(tmp_path / "lora.safetensors", "kohya", {}), "pt") as file:
        assert file.metadata()["base_variant"] == "fp16"


def test_weights_are_those_of_the_commit_whose_settings_are_here(
    hub: HubDouble, files: Files, tiny_base: Path
) -> None:
    hub.models[NAME] = files
    configs = config_folder(NAME, None)
    hub.models[NAME] = {**files, "README.md": b"a newer commit"}
    hub.asked.clear()
    load_components(NAME)
    assert {path.name for path in configs.parent.iterdir()} == {configs.name}
    assert {asked.path.split("/")[4] for asked in hub.asked if asked.method == "HEAD"} == {configs.name}


def test_a_repository_of_single_files_says_how_to_use_one(hub: HubDouble, capfd: Any) -> None:
    hub.models[NAME] = {"README.md": b"", "anime.safetensors": Claimed(7 * 10**9)}
    with pytest.raises(
        ValueError,
        match=r"single files: anime.safetensors. Give one of them: --model.base_model owner/model/anime.safetensors",
    ):
        config_folder(NAME, None)
    assert hub.fetched() == []
    assert capfd.readouterr() == ("", "")  # the library's own warning shows patterns that nobody gave


def test_a_renamed_model_is_found_where_it_is_now(hub: HubDouble, files: Files) -> None:
    hub.models[NAME] = files
    hub.moved = {"Owner/MODEL": NAME}
    load_components("Owner/MODEL")
    hub.asked.clear()
    load_components("Owner/MODEL")
    assert hub.asked == []


def test_a_hub_of_ones_own_may_live_below_a_path(
    hub: HubDouble, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.models[NAME], hub.prefix = files, "/models/hub"
    point_at(hub.url, tmp_path / "cache", monkeypatch)
    load_components(NAME)
    assert all(asked.path.startswith(("/models/hub/", "/cdn/")) for asked in hub.asked)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            "https://huggingface.co/owner/model/tree/main",
            "is a web page. The model's id is owner/model: give",
        ),
        (
            "huggingface.co/owner/model?library=diffusers",
            "is a web page. The model's id is owner/model: give",
        ),
        ("https://hf.co/owner/model#files", "is a web page. The model's id is owner/model: give that"),
        ("owner/model@fp16", r"names a revision.*hf download owner/model --revision fp16 --local-dir FOLDER"),
        ("owner--x/model", "no model has such an id"),
    ],
)
def test_what_is_nearly_an_id_is_said(hub: HubDouble, given: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        config_folder(given, None)
    assert hub.asked == []


# ---------------------------------------------------------------------- what is said while it comes


def test_size_place_and_a_bar_a_file_are_shown_before_gigabytes_come(
    hub: HubDouble, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setenv("TQDM_POSITION", "-1")  # a bar also where no terminal is
    hub.models[NAME] = files
    config_folder(NAME, None)
    assert capfd.readouterr() == ("", "")
    with quiet_libraries():  # hides the libraries' bars
        load_components(NAME)
    shown = capfd.readouterr().err
    size = sum(len(content_of(files, name)) for name in WEIGHTS) / 1e6
    first, _, rest = shown.partition("\n")
    assert first.startswith(
        f"Fetching {size:.1f} MB (3 files) of {NAME} from {hub.url} into {tmp_path / 'cache'}"
    )
    assert re.search(r"diffusion_pytorch_model\.safetensors: 100%.*3\.19M/3\.19M \[.*B/s\]", rest)
    load_components(NAME)
    assert capfd.readouterr().err == ""


def test_of_several_processes_the_first_says_it(
    hub: HubDouble, files: Files, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    hub.models[NAME] = files
    load_components(NAME)
    assert capfd.readouterr().err == ""


# ---------------------------------------------------------------------- failures

GATED = {"X-Error-Code": "GatedRepo"}
PORTAL = ({"Content-Type": "text/html"}, b"<html>Welcome to the hotel</html>")


@pytest.mark.parametrize(
    ("trouble", "text"),
    [
        (
            Trouble("/api/", 404, {"X-Error-Code": "RepoNotFound"}),
            "the hub has no model of that name, or a private",
        ),
        (
            Trouble("/api/", 401, {"X-Error-Code": "RepoNotFound"}),
            r"no model of that name.*\(401\).*hf auth login",
        ),
        (
            Trouble("/api/", 401, GATED),
            r"accepted its licence \(401\). Accept it on http.*/owner/model, then log in",
        ),
        (
            Trouble("/resolve/", 401, GATED),
            r"accepted its licence \(401\). Accept it on .*hf auth login.*HF_TOKEN",
        ),
        (
            Trouble("/resolve/", 403, GATED),
            r"accepted its licence \(403\). Accept it on .*hf auth login.*HF_TOKEN",
        ),
        (
            Trouble("/api/", 401),
            r"doesn't accept this machine's token \(401\). Take a new one.*hf auth login",
        ),
        (Trouble("/resolve/", 401), r"doesn't accept this machine's token \(401\)"),
        (
            Trouble("/api/", 403, {"X-Error-Message": "Not for you"}),
            r"refuses it \(403; Not for you\).*hf auth login",
        ),
        (Trouble("/resolve/", 403), r"the hub refuses it \(403\).*hf auth login"),
        (
            Trouble("unet/config", 404, {"X-Error-Code": "EntryNotFound"}),
            r"the hub lists its settings and doesn't give all of it \(404\). Try again .*look at http.*/owner/model",
        ),
        (
            Trouble("/api/", 429),
            r"too many requests from this address \(429\). Wait a few minutes, or log in",
        ),
        (
            Trouble("/resolve/", 429, {"Retry-After": "9"}),
            r"too many requests from this address \(429\). Wait",
        ),
        (Trouble("/api/", 500), r"out of order at the moment \(500\). Try again in a few minutes"),
        (Trouble("/tree/", 503), r"out of order at the moment \(503\). Try again in a few minutes"),
        (Trouble("/resolve/", 502), r"out of order at the moment \(502\). Try again in a few minutes"),
        (Trouble("/api/", 400), r"the hub refuses the request \(400\)"),
        (
            Trouble("/api/", 200, *PORTAL),
            "isn't the Hugging Face hub. Does the network want a log-in in the browser",
        ),
        (Trouble("/api/", 200, {}, b"{}"), "isn't the Hugging Face hub. Does the network want a log-in"),
        (
            Trouble("/resolve/", 200, *PORTAL),
            "isn't the Hugging Face hub. Does the network want a log-in in the br",
        ),
        (
            Trouble("/api/", 302, {"Location": "http://127.0.0.1:9/"}),
            r"can't be reached \(.*refused\). Is there a net",
        ),
    ],
    ids=lambda value: f"{value.path} {value.status}" if isinstance(value, Trouble) else "",
)
def test_each_answer_of_the_hub_has_its_sentence(
    hub: HubDouble, files: Files, trouble: Trouble, text: str
) -> None:
    hub.models[NAME], hub.troubles = files, [trouble]
    with pytest.raises(ValueError, match=f"^--model.base_model {NAME}: .*{text}"):
        config_folder(NAME, None)
    hub.troubles = []
    load_components(NAME)  # nothing of the failure stays


def test_a_file_that_the_hub_lists_and_lacks_is_not_called_a_model_that_it_lacks(
    hub: HubDouble, files: Files
) -> None:
    hub.models[NAME], hub.troubles = files, [Trouble("/cdn/", 404)]
    with pytest.raises(
        ValueError,
        match=r"the hub lists unet/diffusion_pytorch_model.safetensors \(3.2 MB\) and doesn't give all of it \(404\)",
    ):
        load_components(NAME)


def test_a_hub_that_never_answers_is_given_up(
    hub: HubDouble, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_ETAG_TIMEOUT", 0.1)
    hub.models[NAME], hub.troubles = files, [Trouble("/api/", None)]
    with pytest.raises(
        ValueError, match=r"doesn't answer in time. Try again; on a slow line set HF_HUB_ETAG_TIM"
    ):
        config_folder(NAME, None)


def test_no_network_says_how_to_bring_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point_at("http://127.0.0.1:9", tmp_path, monkeypatch)
    with pytest.raises(
        ValueError, match=r"no such folder here, and http.* can't be reached \(.*refused\)"
    ) as error:
        config_folder(NAME, None)
    assert "hf download owner/model --local-dir models/model --include" in str(error.value)
    assert str(error.value).endswith("--model.base_model models/model")


@pytest.mark.parametrize(
    ("proxy", "text"),
    [
        ("http://127.0.0.1:9", r"can't be reached \(.*refused\). A proxy is set. Correct HTTPS_PROXY"),
        ("socks4://127.0.0.1:9", "the proxy on the way to http.* fails .*socks4.*. Correct HTTPS_PROXY"),
        ("THE DOUBLE", r"a proxy asks for a name and a password \(407\). Correct HTTPS_PROXY"),
    ],
)
def test_a_proxy_that_fails_is_named(
    hub: HubDouble, monkeypatch: pytest.MonkeyPatch, proxy: str, text: str
) -> None:
    hub.troubles = [Trouble("", 407)]
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTP_PROXY", proxy.replace("THE DOUBLE", hub.url))
    with pytest.raises(ValueError, match=text):
        config_folder(NAME, None)


def test_half_a_cache_without_network_says_so_and_with_it_only_the_rest_is_fetched(
    hub: HubDouble, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.models[NAME] = files
    hub.troubles = [Trouble("vae/diffusion_pytorch_model", 503)]
    with pytest.raises(ValueError, match="out of order"):
        load_components(NAME)
    with monkeypatch.context() as patch:
        point_at("http://127.0.0.1:9", tmp_path / "cache", patch)
        with pytest.raises(
            ValueError, match=r"can't be reached \(.*\). Is there a network\? Files that came whole"
        ):
            load_components(NAME)
    with monkeypatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(
            ValueError, match="not all of the model is in the hub's cache, and HF_HUB_OFFLINE forb"
        ):
            load_components(NAME)
        patch.setenv("TRANSFORMERS_OFFLINE", "1")  # says the same to the library
        with pytest.raises(ValueError, match=r"and TRANSFORMERS_OFFLINE forbids to ask the hub. Unset it"):
            load_components(NAME)
    hub.troubles = []
    hub.asked.clear()
    load_components(NAME)
    assert sorted(hub.fetched()) == [WEIGHTS[0], WEIGHTS[2]]  # the UNet came in the first try


def test_a_connection_cut_in_the_middle_goes_on_from_there(
    hub: HubDouble, files: Files, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 50_000)
    hub.models[NAME] = files
    hub.troubles = [Trouble("/cdn/", cut_after=100_000, method="GET", times=1)]
    same_networks(load_components(NAME), load_components(str(tiny_base)))
    ranges = [asked.range for asked in hub.asked if asked.path.startswith("/cdn/")]
    assert ranges == ["", "bytes=100000-", "", ""]


def test_a_connection_cut_again_and_again_is_given_up_and_whole_files_are_kept(
    hub: HubDouble, files: Files
) -> None:
    hub.models[NAME] = files
    hub.troubles = [Trouble("/cdn/", cut_after=0, method="GET")]
    with pytest.raises(
        ValueError, match=r"\(\d\.\d MB\) didn't come whole \(.*Start again. Files that came whole"
    ):
        load_components(NAME)
    hub.troubles = []
    load_components(NAME)


def test_a_short_file_is_not_taken(hub: HubDouble, files: Files) -> None:
    hub.models[NAME], hub.troubles = files, [Trouble("/cdn/", 200, body=b"short", method="GET")]
    with pytest.raises(
        ValueError, match=r"unet/diffusion_pytorch_model.safetensors \(3.2 MB\) didn't come whole"
    ):
        load_components(NAME)
    hub.troubles = []
    load_components(NAME)


def test_weights_for_which_there_is_no_room_are_not_begun(
    hub: HubDouble, files: Files, tmp_path: Path
) -> None:
    hub.models[NAME] = {**files, WEIGHTS[1]: Claimed(10**15)}
    with pytest.raises(
        ValueError,
        match=rf"its weights take 1000000\.0 GB, and {tmp_path}/cache has \d+\.\d GB free. Make room, or set HF_HOME",
    ):
        load_components(NAME)
    assert not set(hub.fetched()) & set(WEIGHTS)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_meanwhile_is_said(
    hub: HubDouble, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    hub.models[NAME] = files
    config_folder(NAME, None)
    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    with pytest.raises(
        ValueError,
        match=rf"the disk of {tmp_path}/cache is full, unet/diffusion_pytorch_model.safetensors \(3.2 MB\) can't be ",
    ):
        load_components(NAME)


def test_a_cache_that_belongs_to_somebody_else_is_said(
    hub: HubDouble, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(path: str, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    hub.models[NAME] = files
    monkeypatch.setattr("huggingface_hub.file_download.os.makedirs", forbidden)
    with pytest.raises(
        ValueError, match=r"can't be written \(Permission denied\). Set HF_HOME to a folder of your"
    ):
        config_folder(NAME, None)


def test_a_cache_below_a_file_is_said(
    hub: HubDouble, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.models[NAME] = files
    (tmp_path / "home").write_text("")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "home/hub"))
    with pytest.raises(
        ValueError, match=rf"{tmp_path}/home.* can't be written \(Not a directory\). Set HF_HOME to a folder"
    ):
        config_folder(NAME, None)


def test_a_damaged_file_in_the_cache_has_to_go_first(hub: HubDouble, files: Files, tmp_path: Path) -> None:
    hub.models[NAME] = files
    load_components(NAME)
    blob = (config_folder(NAME, None) / WEIGHTS[1]).resolve()
    blob.write_bytes(blob.read_bytes()[:-10])
    with pytest.raises(
        ValueError,
        match=r"damaged or cut short.*Where http.* can be reached, run `hf cache rm model/owner/model`: the next start",
    ):
        load_components(NAME)
    shutil.rmtree(tmp_path / "cache/models--owner--model")
    load_components(NAME)


def test_a_folder_of_ones_own_is_copied_again(tmp_path: Path) -> None:
    assert get_again(tmp_path) == "Download or copy the model again."


def test_a_cache_filled_by_an_older_library_is_used_without_a_network(
    hub: HubDouble, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.models[NAME] = files
    first = load_components(NAME)
    older = Path(shutil.copytree(tmp_path / "cache", tmp_path / "older", symlinks=True))
    shutil.rmtree(older / "models--owner--model/trees")
    point_at("http://127.0.0.1:9", older, monkeypatch)
    same_networks(load_components(NAME), first)
    (weights,) = older.glob("*/snapshots/*/vae/*.safetensors")
    weights.unlink()
    said = r"owner/model: .*can't be reached \(.*\)\. Is there a network\? Files that came whole are kept"
    with pytest.raises(ValueError, match=said):
        load_components(NAME)


# ---------------------------------------------------------------------- CLIP


@pytest.mark.parametrize("kind", ["safetensors", "pickles"])
def test_of_a_clip_comes_what_is_read(hub: HubDouble, clip_files: Files, tmp_path: Path, kind: str) -> None:
    others = {"tf_model.h5": Claimed(600_000_000), "flax_model.msgpack": Claimed(600_000_000)}
    own = dict(clip_files)
    if kind == "pickles":
        (tmp_path / "whole").write_bytes(content_of(own, "model.safetensors"))
        torch.save(load_file(tmp_path / "whole"), tmp_path / "pickle")
        del own["model.safetensors"]
        own["pytorch_model.bin"] = (tmp_path / "pickle").read_bytes()
    else:
        others["pytorch_model.bin"] = Claimed(600_000_000)
    hub.models["owner/clip"] = {**own, **others}
    found = Clip("owner/clip", "--clip")
    assert sorted(hub.fetched()) == sorted(own)
    hub.asked.clear()
    again = Clip("owner/clip", "--clip")
    assert hub.asked == []
    assert torch.equal(found.of_texts(["a girl"]), again.of_texts(["a girl"]))


def test_half_a_clip_of_an_older_library_without_network_says_so(
    hub: HubDouble, clip_files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.models["owner/clip"] = dict(clip_files)
    Clip("owner/clip", "--clip").of_texts(["a girl"])
    shutil.rmtree(tmp_path / "cache/models--owner--clip/trees")
    next(tmp_path.glob("cache/models--owner--clip/snapshots/*/model.safetensors")).unlink()
    point_at("http://127.0.0.1:9", tmp_path / "cache", monkeypatch)
    with pytest.raises(
        ValueError, match=r"--clip owner/clip: .*can't be reached \(.*\)\. Is there a network\?"
    ):
        load_clip("owner/clip", "--clip")


def test_what_is_no_clip_is_refused_before_its_weights_come(hub: HubDouble) -> None:
    hub.models["owner/bert"] = {"config.json": b'{"model_type": "bert"}', "model.safetensors": Claimed(10**9)}
    with pytest.raises(ValueError, match=r"--clip is owner/bert: by its config.json it is bert, not a CLIP"):
        load_clip("owner/bert", "--clip")
    assert hub.fetched() == ["config.json"]


# ---------------------------------------------------------------------- the commands


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, tiny_base: Path
) -> Iterator[tuple[HubDouble, Path, Path]]:
    """A hub with the real layout and a CLIP, the config of a run, and the run, which was trained from them."""
    folder = tmp_path_factory.mktemp("world")
    with hub_in_place(folder / "cache") as double:
        small = files_of(published(tiny_base, folder / "published"))
        double.models = {
            NAME: {**small, **unwanted()},
            "owner/clip": files_of(save_tiny_clip(folder / "clip")),
        }
        config = small_config(folder, Path(NAME), picture_folder(folder / "pictures"))
        options = [
            "--runs",
            str(folder / "runs"),
            "--trainer.max_steps",
            "2",
            "--trainer.val_check_interval",
            "2",
        ]
        main(["fit", "--config", str(config), *options, "--clip_score.model", "owner/clip", "--name", "hub"])
        yield double, config, folder / "runs/hub"


def test_fit_trains_and_tests_its_export_on_a_model_of_the_hub(world: tuple[HubDouble, Path, Path]) -> None:
    double, _, run = world
    assert {"README.md", "safety_checker/config.json"}.isdisjoint(double.fetched())
    assert len(double.fetched()) == len(set(double.fetched()))
    assert (run / "pytorch_lora_weights.safetensors").is_file()
    scores = EventAccumulator(str(run)).Reload().Scalars("clip_score/prompt/lora")
    assert [score.step for score in scores] == [0, 2]


def test_the_commands_behind_fit_ask_the_hub_for_nothing(
    world: tuple[HubDouble, Path, Path], tmp_path: Path
) -> None:
    double, config, run = world
    double.asked.clear()
    main(["predict", "--lora", str(run), "--prompt", "a girl", "--output", str(tmp_path / "painted")])
    main(["merge", "--ckpt_path", str(run), "--output", str(tmp_path / "merged")])
    with pytest.raises(SystemExit):
        main(["plan", "--config", str(config), "--trainer.accelerator", "auto"])
    assert double.asked == []


def test_the_notebook_s_plain_pipeline_fetches_what_fit_has_and_nothing_else(
    hub: HubDouble, tiny_base: Path, tmp_path: Path
) -> None:
    small = files_of(published(tiny_base, tmp_path / "published"))
    hub.models[NAME] = {**small, **unwanted()}
    load_components(NAME)
    hub.asked.clear()
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    (cell,) = (cell.source for cell in cells if "from_pretrained" in cell.source)
    kept = ("import", "from", "pipeline = ")
    statements = [ast.unparse(node) for node in ast.parse(cell).body]
    code = "\n".join(line for line in statements if line.startswith(kept))
    names: dict[str, Any] = {"BASE": NAME, "REAL_MODEL": False, "torch": torch}
    exec(code, names)
    assert names["pipeline"].safety_checker is None
    assert hub.fetched() == []


@pytest.mark.parametrize("command", ["fit", "plan", "predict", "test", "merge", "export", "audit"])
def test_every_command_says_a_failure_in_a_sentence(
    world: tuple[HubDouble, Path, Path], command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, config, run = world
    absent = ["--model.base_model", "owner/absent"]
    options = {
        "fit": ["--config", str(config), "--runs", str(tmp_path), *absent],
        "plan": ["--config", str(config), *absent],
        "predict": ["--lora", str(run), "--prompt", "a girl", "--output", str(tmp_path / "p"), *absent],
        "test": ["--lora", str(run), "--output", str(tmp_path / "t"), "--clip", "owner/absent"],
        "merge": ["--ckpt_path", str(run), "--output", str(tmp_path / "merged"), *absent],
        "export": ["--ckpt_path", str(run), "--output", str(tmp_path / "x"), "--format", "kohya", *absent],
        "audit": ["--config", str(config), "--clip", "owner/absent"],
    }
    with pytest.raises(SystemExit) as stop:
        main([command, *options[command]])
    assert stop.value.code == 2
    shown = capsys.readouterr().err
    assert re.search(
        r"owner/absent: there is no such folder here, and the hub has no model of that name", shown
    )
    assert "Traceback" not in shown


def test_plan_fetches_settings_alone_and_of_a_known_base_nothing(
    hub: HubDouble, tiny_base: Path, tmp_path: Path
) -> None:
    known = "waifu-diffusion/wd-1-5-beta2"
    small = files_of(published(tiny_base, tmp_path / "published"))
    hub.models[NAME] = hub.models[known] = {**small, **unwanted()}
    config = small_config(tmp_path, Path(NAME), picture_folder(tmp_path / "pictures"))
    with pytest.raises(SystemExit):
        main(["plan", "--config", str(config)])
    assert sorted(hub.fetched()) == sorted(set(small) - set(WEIGHTS))
    hub.asked.clear()
    assert "isn't on this machine" in shapes_of(known, None, torch.float32).source
    assert hub.asked == []


# ---------------------------------------------------------------------- one file of a repository


FILE = f"{NAME}/files/anime v1.safetensors"


@pytest.fixture
def one_file(hub: HubDouble, tiny_base_sd1: Path, tmp_path: Path) -> tuple[str, Path]:
    """A model in one file on the hub, with a folder of its configs; by its id it is on the hub."""
    path = save_ldm_checkpoint(tiny_base_sd1, tmp_path / "anime v1.safetensors")
    hub.models[NAME] = {
        "README.md": b"",
        "files/anime v1.safetensors": path.read_bytes(),
        "files/anime v1.yaml": b"target: sgm.modules.denoiser.VScaling\n",
        "other.safetensors": Claimed(7 * 10**9),
    }
    return FILE, tiny_base_sd1


def test_one_file_of_a_repository_is_a_base(
    hub: HubDouble, one_file: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its header comes first, by a range; then the file, once; afterwards nothing is asked."""
    base, configs = one_file
    settings = open_base(base, str(configs))
    assert settings.prediction_type == "v_prediction"  # by the .yaml beside it
    weights = [asked for asked in hub.asked if asked.method == "GET" and ".safetensors" in asked.path]
    assert weights
    assert all(asked.range for asked in weights)
    found = load_components(base, str(configs))
    same_networks(found, load_components(str(configs)))
    assert found.name == base
    point_at("http://127.0.0.1:9", tmp_path / "cache", monkeypatch)
    same_networks(load_components(base, str(configs)), found)


def test_a_file_that_the_repository_lacks_names_those_it_has(one_file: tuple[str, Path]) -> None:
    with pytest.raises(ValueError, match=r"has no such file. Its \.safetensors are .*anime v1.*, other"):
        open_base(f"{NAME}/animo.safetensors")


def test_a_file_that_is_no_model_is_refused_by_its_header(hub: HubDouble, tmp_path: Path) -> None:
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(1)}, tmp_path / "l.safetensors")
    hub.models[NAME] = {"l.safetensors": (tmp_path / "l.safetensors").read_bytes()}
    with pytest.raises(ValueError, match=rf"base_model {NAME}/l\.safetensors is a LoRA, not a model"):
        open_base(f"{NAME}/l.safetensors")


@pytest.mark.parametrize(
    ("dtype", "fetched"), [(torch.float32, "32"), (torch.bfloat16, "16"), (torch.float16, "16")]
)
def test_16_bit_weights_are_fetched_where_the_run_has_16_bits(
    hub: HubDouble, files: Files, tmp_path: Path, dtype: torch.dtype, fetched: str
) -> None:
    """Of UNet and text encoder; the VAE computes in float32, and is small. What is here is not fetched again."""
    halves = marked(half(files, torch.float16, tmp_path), "fp16")
    hub.models[NAME] = {**files, **halves}
    load_components(NAME, weight_dtype=dtype)
    weights = sorted(name for name in hub.fetched() if name in WEIGHTS or name in halves)
    others = [name for name in WEIGHTS if not name.startswith("vae")]
    vae = next(name for name in WEIGHTS if name.startswith("vae"))
    wanted = others if fetched == "32" else [name for name in halves if not name.startswith("vae")]
    assert weights == sorted([*wanted, vae])
    hub.asked.clear()
    load_components(NAME)  # in float32, as `export` does
    assert [name for name in hub.fetched() if name not in ("README.md",)] == []


def test_a_repository_without_a_networks_weights_is_refused_before_anything_is_fetched(
    hub: HubDouble, files: Files
) -> None:
    hub.models[NAME] = {name: content for name, content in files.items() if not name.startswith("unet/diff")}
    with pytest.raises(ValueError, match=r"the repository has no weights of its unet\. Take another model"):
        load_components(NAME)
    assert not [name for name in hub.fetched() if name in WEIGHTS]


def test_a_repository_with_models_in_folders_says_how_to_take_one(hub: HubDouble, files: Files) -> None:
    hub.models[NAME] = {f"v2/{name}": content for name, content in files.items()}
    with pytest.raises(
        ValueError, match=r'in folders: v2\. Fetch one: hf download owner/model --include "v2/\*" --local'
    ):
        config_folder(NAME, None)
