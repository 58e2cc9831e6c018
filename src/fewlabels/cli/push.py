"""`fewlabels push`: put a model on the Hugging Face Hub."""

from __future__ import annotations

from typing import Annotated

import typer

from fewlabels.cli.answer import Answer, answers
from fewlabels.cli.app import app, note, tell
from fewlabels.cli.options import Json, Model, Quiet


@app.command()
@answers
def push(
    model: Model,
    name: Annotated[str, typer.Argument(help="OWNER/NAME on the Hub; made where it is missing.")],
    private: Annotated[bool, typer.Option("--private", help="Only the owner sees it.")] = False,
    revision: Annotated[
        str | None, typer.Option(help="A branch, made where it is missing; the main branch when not given.")
    ] = None,
    with_examples: Annotated[
        bool,
        typer.Option("--with-examples", help="Also push the labeled images that the model keeps; they stay otherwise."),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> Answer:
    """Put a model on the Hugging Face Hub: weights, description and card, in one commit.

    **Examples**

    `fewlabels push model jane/birds --private`

    `fewlabels push model jane/birds --revision v2`
    """
    from fewlabels.methods.published import push as push_model
    from fewlabels.storage.model_folder import keeps_examples

    commit = push_model(
        model, name, private=private, revision=revision, with_examples=with_examples, progress=not quiet
    )
    if not quiet and not with_examples and keeps_examples(model):
        note("the labeled images that it keeps stayed here (--with-examples)")
    return Answer(
        lambda: {"model": model, "name": name, "commit": commit},
        lambda: tell(f"{model} is on the Hub: {commit}"),
    )
