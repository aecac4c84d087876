"""A folder of Parquet files to a folder of Parquet files with vectors, on a Ray cluster or on this machine.

    python examples/ray_parquet.py IN OUT [--address auto] [--actors 2] [--model demo-embedding] [--column text]

Run it again to go on where it was stopped. Runs offline with the bundled demo model. Needs qsift[ray].
"""

from __future__ import annotations

import argparse

from qsift.integrations.ray import Pool, embed_files


def main() -> None:
    """Embeds what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--address", help="of the cluster; this machine without it")
    parser.add_argument("--actors", type=int, help="engines; one a GPU or a machine without it")
    parser.add_argument("--model", default="demo-embedding")
    parser.add_argument("--column", default="text")
    options = parser.parse_args()
    done = embed_files(
        options.source,
        options.target,
        model=options.model,
        column=options.column,
        pool=Pool(actors=options.actors, address=options.address),
        on_progress=lambda rows, total: print(f"{rows} of {total} rows"),
    )
    print(f"{done.rows} rows in {done.partitions} partitions, {done.kept} partitions were done before.")


if __name__ == "__main__":
    main()
