"""The page's layout, in Gradio: which part stands where, and what answers when it is used."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import gradio as gr

from fewlabels.serving.label_tab import label_tab
from fewlabels.serving.limits import Limits
from fewlabels.serving.panels import about_panel, answer_panel, note_panel
from fewlabels.serving.service import Service
from fewlabels.storage.errors import InputError
from fewlabels.storage.visible import visible

_TITLE = "fewlabels"
# The report's blue, dark enough for white letters.
_BLUE = gr.themes.Color(
    *("#f1f5fc", "#dfe9f8", "#c3d6f2", "#a9c8f8", "#82aef2", "#2b62b8", "#2b62b8", "#1f4d95", "#1b3763", "#152a4b"),
    c950="#0f1e36",
)
_ASK = '<p class="fl-empty">Drop an image, or choose one: the answer stands here.</p>'


def build_page(service: Service) -> Any:
    """Return the page of a service, ready to be mounted in a server.

    Parameters
    ----------
    service : Service
        What answers.
    """
    with gr.Blocks(title=f"{_TITLE}: {visible(service.title)}", analytics_enabled=False) as page:
        about = gr.HTML(about_panel(service.model, service.title), elem_id="fl-about")
        # Where there is no model yet, labels come first.
        with gr.Tabs(selected="label" if service.model is None else "classify"):
            with gr.Tab("Classify", id="classify"):
                _classify_tab(service)
            if service.desk is not None:
                with gr.Tab("Label", id="label"):
                    label_tab(page, service, about)
    _take_files_as_images_alone(page)
    page.queue(max_size=service.limits.waiting, default_concurrency_limit=1, api_open=False)
    return page


def mount(page: gr.Blocks, application: Any, host: str, port: int, limits: Limits) -> Any:
    """Return an ASGI application with the page at its root."""
    templates = files("fewlabels.serving") / "templates"
    font = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    return gr.mount_gradio_app(
        application,
        page,
        path="/",
        server_name=host,
        server_port=port,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        show_error=True,
        max_file_size=limits.upload_bytes,
        theme=gr.themes.Default(
            primary_hue=_BLUE,
            neutral_hue=gr.themes.colors.stone,
            font=font,
            font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
        ),
        css=(templates / "page.css").read_text(encoding="utf-8"),
        js=(templates / "page.js").read_text(encoding="utf-8"),
    )


def _classify_tab(service: Service) -> None:
    def classify(path: str | None) -> str:
        if path is None:
            return _ASK
        try:
            return answer_panel(service.classify(Path(path)))
        except InputError as error:
            return note_panel(str(error))

    with gr.Row():
        with gr.Column(min_width=300):
            upload = gr.Image(
                label="Image",
                type="filepath",
                sources=["upload", "clipboard"],
                height=320,
                elem_id="fl-upload",
                buttons=[],
            )
            _keep_as_uploaded(upload)
            gr.HTML(
                f'<div class="fl"><p class="fl-muted">At most {service.limits.upload_bytes >> 20} MiB. The image is '
                "not passed on to anyone.</p></div>"
            )
        with gr.Column(min_width=300):
            answer = gr.HTML(_ASK, elem_id="fl-answer")
    upload.change(classify, upload, answer, api_name="classify", show_progress_on=answer, show_progress="minimal")


def _keep_as_uploaded(image: Any) -> None:
    """Have an image component hand over the path of the file that was uploaded.

    Gradio would decode it with every reader there is and without limits, and fetch an address that is given in place
    of a file. A component of its own would be the other way; of such, Gradio writes type stubs beside the source.
    """
    uploads = Path(image.GRADIO_CACHE).resolve()

    def uploaded(path: Any) -> str:
        # Files of the working folder would be taken as well, addresses fetched, and a pipe waited for.
        place = Path(str(path))
        if (
            "://" in str(path)
            or not place.resolve().is_relative_to(uploads)
            or (place.exists() and not place.is_file())
        ):
            raise gr.Error("upload a file", print_exception=False)
        return str(path)

    async def moved(path: Any) -> str:
        return uploaded(path)

    # Gradio asks for the second only where a request says that it brings a file.
    image.preprocess = lambda payload: None if payload is None else uploaded(payload.path)
    image.async_move_resource_to_block_cache = moved


def _take_files_as_images_alone(page: Any) -> None:
    """Have a page refuse files that are given in place of text.

    Gradio looks for files in what any component is given, and copies them from wherever they lie, devices too. To
    replace what copies them in each component would not do: one that is shown anew is made anew.
    """
    preprocess = page.preprocess_data

    async def preprocessed(function: Any, inputs: list[Any], *more: Any, **options: Any) -> Any:
        for block, given in zip(function.inputs, inputs, strict=False):
            if isinstance(given, dict | list) and not block.stateful and not isinstance(block, gr.Image):
                raise gr.Error("files are taken as images alone", print_exception=False)
        return await preprocess(function, inputs, *more, **options)

    page.preprocess_data = preprocessed
