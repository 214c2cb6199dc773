"""recblr-recommend: recommendations for one history, in the shell."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recblr.cli.common import Command, version_option
from recblr.errors import ConfigError, shown
from recblr.runtime.cli.engine_options import ENGINE_OPTION, K_OPTION

if TYPE_CHECKING:
    from recblr.array_types import ItemId
    from recblr.runtime import Engine, Ranking


@click.command(cls=Command)
@ENGINE_OPTION
@click.option("--history", default="", metavar="IDS", help="Item ids, oldest first: 1,2,3. None for a new user.")
@K_OPTION
@click.option("--exclude", default="", metavar="IDS", help="Item ids to leave out besides those of the history.")
@click.option("--include-seen", is_flag=True, help="Recommend items of the history, too.")
@click.option(
    "--separator",
    default=",",
    show_default=True,
    help="Between item ids, for ids that hold commas themselves.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@version_option
def main(
    engine: Path, history: str, k: int | None, exclude: str, include_seen: bool, separator: str, as_json: bool
) -> None:
    """Recommend the best next items for one history."""
    from recblr.runtime import load

    if not separator:
        raise ConfigError("--separator is empty: give at least one character")
    loaded = load(engine)
    items, excluded = (_parse(loaded, text, separator) for text in (history, exclude))
    (ranking,) = loaded.recommend([items], k, exclude_seen=not include_seen, exclude=[excluded])
    if as_json:
        content = {
            "items": ranking.items,
            "scores": ranking.scores.tolist(),
            "popular": ranking.popular,
            "unknown": ranking.unknown,
            "model": loaded.fingerprint,
        }
        is_utf = (sys.stdout.encoding or "").lower().startswith("utf")
        click.echo(json.dumps(content, ensure_ascii=not is_utf))
    else:
        _print_table(ranking, items, loaded)


def _parse(engine: Engine, text: str, separator: str) -> list[ItemId]:
    from recblr.item_ids import parse_id

    return [parse_id(part, engine.id_type) for part in text.split(separator)] if text.strip() else []


def _print_table(ranking: Ranking, history: list[ItemId], engine: Engine) -> None:
    if ranking.unknown:
        first = next(item for item in history if not len(engine.bundle.indices([item])))
        count = f"{ranking.unknown} of {len(history)} item ids"
        click.echo(f"{count} are unknown to the model and were skipped, the first of them {shown(first)}.", err=True)
    if ranking.popular:
        click.echo("Nothing is known of this user: the most popular items, with their counts.", err=True)
    width = max([len("item"), *(len(str(item)) for item in ranking.items)])
    click.echo(f"rank  {'item':<{width}}  {'count' if ranking.popular else 'score':>10}")
    for rank, (item, score) in enumerate(zip(ranking.items, ranking.scores.tolist(), strict=True), start=1):
        value = f"{score:,.0f}" if ranking.popular else f"{score:.4f}"
        click.echo(f"{rank:>4}  {item!s:<{width}}  {value:>10}")


if __name__ == "__main__":
    main()
