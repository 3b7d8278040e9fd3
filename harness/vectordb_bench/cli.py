"""``vectordbbench pageann``."""

from typing import Annotated, Unpack

import click

from ....cli.cli import CommonTypedDict, cli, click_parameter_decorators_from_typed_dict, run
from .. import DB
from .config import PageANNConfig, PageANNIndexConfig


class PageANNTypedDict(CommonTypedDict):  # type: ignore[misc]
    """Options of the command."""

    path: Annotated[str, click.option("--path", type=str, required=True, help="folder for the index")]
    memory: Annotated[str, click.option("--memory", type=str, default="30%", help="budget: 64MiB or 30%")]
    effort: Annotated[int, click.option("--effort", type=int, default=40, help="candidates of a search")]


@cli.command()
@click_parameter_decorators_from_typed_dict(PageANNTypedDict)
def PageANN(**parameters: Unpack[PageANNTypedDict]) -> None:
    """Run the cases against an index on this machine."""
    run(
        db=DB.PageANN,
        db_config=PageANNConfig(db_label=parameters["db_label"], path=parameters["path"]),
        db_case_config=PageANNIndexConfig(memory=parameters["memory"], effort=parameters["effort"]),
        **parameters,
    )
