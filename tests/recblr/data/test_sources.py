"""Several files: folders, globs, URIs, compression; their order, and mistakes."""

from __future__ import annotations

import bz2
import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from recblr.data import Columns, Interactions, load_interactions
from recblr.data.sources import data_name, find_files
from recblr.errors import DataError

HEADER = "user_id,item_id,timestamp\n"


def load(*sources: Any, **options: Any) -> Interactions:
    return load_interactions(sources, Columns(), 0, 0, **options)[0]


def items(*sources: Any, **options: Any) -> list[Any]:
    """The items of the only user, whose times are all equal: in the order of the files."""
    data = load(*sources, **options)
    assert data.n_users == 1
    return data.item_ids[data.items - 1].tolist()


def text(path: Path, *item_ids: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEADER + "".join(f"1,{item},0\n" for item in item_ids))
    return path


def parquet(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def refused(*sources: Any, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(*sources, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_keep_the_order_of_the_arguments_and_names_that_of_a_folder(tmp_path: Path) -> None:
    text(tmp_path / "logs/b/1.csv", 1)
    text(tmp_path / "logs/a.csv", 2)
    text(tmp_path / "logs/c.csv", 3)
    text(tmp_path / "z.csv", 4)
    assert items(tmp_path / "logs") == [2, 1, 3]
    assert items(tmp_path / "z.csv", tmp_path / "logs") == [4, 2, 1, 3]
    assert items(tmp_path / "logs/c.csv", str(tmp_path / "logs/a.csv")) == [3, 2]


def test_what_programs_leave_beside_data_is_skipped(tmp_path: Path) -> None:
    text(tmp_path / "logs/part-0.csv", 1)
    for name in ("_SUCCESS", "._SUCCESS.crc", ".part-0.csv.crc", "_metadata", "_temporary/0/part-1.csv", ".x/2.csv"):
        text(tmp_path / "logs" / name, 9)
    assert items(tmp_path / "logs") == [1]
    assert items(f"{tmp_path}/logs/*") == [1]


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    text(tmp_path / "logs/part-0.csv", 1)
    (tmp_path / "logs/README.md").write_text("hello")
    message = refused(tmp_path / "logs")
    assert "logs/README.md, of no known format" in message
    assert "logs/*.parquet'" in message
    assert items(f"{tmp_path}/logs/*.csv") == [1]
    (tmp_path / "none").mkdir()
    assert "none is a folder without files" in refused(tmp_path / "none")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("logs/*.csv", [1, 2]),
        ("logs/?.csv", [1]),
        ("logs/[a-c]*.csv", [1, 2]),
        ("logs/**/*.csv", [1, 2, 3, 4]),
        ("logs/*/x/*.csv", [4]),
        ("logs/**/x/*.csv", [4]),
        ("logs/**/x", [4]),
        ("**/y.csv", [3]),
        ("l*/d", [3, 4]),
        ("logs/_*.csv", [5]),
    ],
)
def test_globs(pattern: str, found: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(["a.csv", "bb.csv", "d/y.csv", "d/x/z.csv", "_h.csv"], 1):
        text(tmp_path / "logs" / name, number)
    order = [int(file.open_text().readlines()[1].split(",")[1]) for file in find_files(f"{tmp_path}/{pattern}")]
    assert sorted(order) == found
    monkeypatch.chdir(tmp_path)
    names = [file.name for file in find_files(pattern)]
    assert names == sorted(names)
    assert [(tmp_path / name).exists() for name in names] == [True] * len(found)


def test_a_pattern_without_matches_and_a_file_with_a_name_like_a_pattern(tmp_path: Path) -> None:
    assert "*.csv matches no file" in refused(f"{tmp_path}/*.csv")
    assert "matches no file" in refused(f"{tmp_path}/none/**/*.csv")
    assert items(text(tmp_path / "a[1].csv", 7)) == [7]


def test_a_file_given_twice_is_refused(tmp_path: Path) -> None:
    path = text(tmp_path / "a.csv", 1)
    (tmp_path / "link.csv").symlink_to(path)
    for again in (path, f"file://{path}", f"{tmp_path}/*.csv", tmp_path / "link.csv"):
        assert "is given twice, also as" in refused(path, again)


def test_damage_is_told_of_the_file_and_line(tmp_path: Path) -> None:
    first = text(tmp_path / "a.csv", 1, 2)
    second = text(tmp_path / "b.csv", 3, "")
    assert f"{second}, line 3: item_id is empty" in refused(first, second)
    second.write_text(HEADER + "1,2,3\n1,2,x\n")
    assert f"{second}, line 3: timestamp 'x' is not" in refused(first, second)
    third = parquet(tmp_path / "c.parquet", user_id=[1, 2], item_id=[1, None], timestamp=[1, 2])
    assert f"{third}, row 1 (counting from 0): item_id is empty" in refused(first, third)
    second.write_bytes(b"")
    assert f"{second} is empty" in refused(first, second)
    assert f"{tmp_path / 'd.csv'} does not exist" in refused(first, tmp_path / "d.csv")
    assert "is empty: name a file" in refused(first, "")
    os.mkfifo(tmp_path / "pipe.csv")
    assert "is neither a file nor a folder" in refused(first, tmp_path / "pipe.csv")


def test_files_without_rows_are_fine_beside_others(tmp_path: Path) -> None:
    empty = parquet(tmp_path / "b.parquet", **{n: pa.array([], "int64") for n in ("user_id", "item_id", "timestamp")})
    header = tmp_path / "h.tsv"
    header.write_text(HEADER.replace(",", "\t").strip())  # without a line end
    assert items(text(tmp_path / "a.csv"), empty, header, text(tmp_path / "c.csv", 5)) == [5]
    assert f"{header} has a header but no interactions" in refused(header)
    assert "the 2 files" in refused(tmp_path / "a.csv", empty)


@pytest.mark.parametrize("name", ["a.csv.gz", "A.CSV.GZ", "a.csv.zst", "a.CSV.bz2"])
def test_compression_in_any_case_and_cut_off(name: str, tmp_path: Path) -> None:
    content = (HEADER + "".join(f"1,{item * 7919 % 10007},0\n" for item in range(5000))).encode()
    compress = {"gz": gzip.compress, "zst": lambda data: pa.compress(data, "zstd", asbytes=True), "bz2": bz2.compress}
    compressed = compress[name.lower().rpartition(".")[2]](content)
    path = tmp_path / name
    path.write_bytes(compressed)
    assert len(items(path)) == 5000
    path.write_bytes(compressed[: len(compressed) * 2 // 3])
    assert f"{path} cannot be read as CSV" in refused(path)


def test_columns_of_folders_names(tmp_path: Path) -> None:
    for day, user in (("2024-05-02", "a%20b"), ("2024-05-01", "c")):
        parquet(tmp_path / f"logs/date={day}/user_id={user}/part-0.parquet", item_id=[1, 2])
    data, _ = load_interactions(tmp_path / "logs", Columns(timestamp="date"), 0, 0)
    assert data.user_ids.tolist() == ["c", "a b"]
    assert data.time_unit == "us"
    assert [str(np.datetime64(time, "us"))[:10] for time in data.timestamps.tolist()] == ["2024-05-01"] * 2 + [
        "2024-05-02"
    ] * 2
    text(tmp_path / "more/timestamp=5/part-0.csv", 1)  # the file's own column counts
    assert load(tmp_path / "more").timestamps.tolist() == [0]
    (tmp_path / "text/timestamp=7").mkdir(parents=True)
    (tmp_path / "text/timestamp=7/x.csv").write_text("item_id,user_id\n1,2\n")
    assert load(tmp_path / "text").timestamps.tolist() == [7]


def test_null_partitions_are_empty(tmp_path: Path) -> None:
    for user in ("__HIVE_DEFAULT_PARTITION__", "7"):
        parquet(tmp_path / f"logs/user_id={user}/part-0.parquet", item_id=[1], timestamp=[1])
    assert "user_id is empty" in refused(tmp_path / "logs")
    assert load(tmp_path / "logs", null_values=[""]).user_ids.tolist() == [7]


def test_names_of_data(tmp_path: Path) -> None:
    one, two = text(tmp_path / "logs/a.csv", 1), text(tmp_path / "logs/b.csv", 2)
    other = text(tmp_path / "other/c.csv", 2)
    assert data_name(find_files(one)) == "a.csv"
    assert data_name(find_files([one, two])) == data_name(find_files(tmp_path / "logs")) == "2 files in logs/"
    assert data_name(find_files([one, other])) == f"2 files in {tmp_path.name}/"
    assert load_interactions([one, two], Columns(), 0, 0)[1].name == "2 files in logs/"


@pytest.mark.parametrize(
    ("uri", "part"),
    [
        ("hdfs://namenode:8020/logs/a.parquet", "hdfs://namenode:8020/logs/a.parquet cannot be reached: "),
        ("ftp://host/a.csv", "ftp://host/a.csv cannot be reached: Unrecognized"),
        ("s3://key:secret@bucket/[a].csv?region=x", "s3://bucket/[a].csv cannot be reached"),
        ("s3://key:secret@bucket/a b.csv?region=x", "s3://bucket/a b.csv cannot be reached"),
    ],
)
def test_places_that_cannot_be_reached(uri: str, part: str) -> None:
    if uri.startswith("hdfs") and ("HADOOP_HOME" in os.environ or "JAVA_HOME" in os.environ):
        pytest.skip("Hadoop may be installed here")
    message = refused(uri)
    assert part in message
    assert "secret" not in message


def test_file_uris(tmp_path: Path) -> None:
    text(tmp_path / "a b/x.csv", 1)
    assert items(f"file://{tmp_path}/a%20b/x.csv") == [1]
    assert items(f"file://{tmp_path}/*/x.csv") == [1]


@pytest.fixture(scope="module")
def s3() -> Iterator[tuple[pafs.FileSystem, str]]:
    """A file system with a bucket "logs", and the query of its URIs."""
    server_module = pytest.importorskip("moto.server", reason="moto[server], of the extra dev, is not installed")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        query = f"region=us-east-1&scheme=http&endpoint_override={host}:{port}&allow_bucket_creation=true"
        filesystem, _ = pafs.FileSystem.from_uri(f"s3://key:secret@logs/?{query}")
        filesystem.create_dir("logs")
        yield filesystem, query
    finally:
        server.stop()


def test_s3(s3: tuple[pafs.FileSystem, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filesystem, query = s3
    local = parquet(tmp_path / "x.parquet", user_id=[1, 1], item_id=[1, 2], timestamp=[0, 0])
    contents = {
        "2024/date=2/x.parquet": local.read_bytes(),
        "2024/date=1/y.csv.gz": gzip.compress((HEADER + "1,3,0\n").encode()),
        "2024/_SUCCESS": b"",
        "bad/z.csv": (HEADER + "1,2,x\n").encode(),
    }
    for name, content in contents.items():
        with filesystem.open_output_stream(f"logs/{name}", compression=None) as stream:
            stream.write(content)
    uri = "s3://key:secret@logs/{}?" + query
    assert items(uri.format("2024")) == [3, 1, 2]
    assert items(uri.format("2024/*/*.parquet"), uri.format("2024/**/*.gz")) == [1, 2, 3]
    message = refused(uri.format("bad/z.csv"))
    assert message.startswith("s3://logs/bad/z.csv, line 2: timestamp 'x'")
    message = refused(uri.format("none.csv"))
    assert message == "s3://logs/none.csv does not exist: check the path"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    files = find_files(f"s3://logs/2024?{query}")
    assert [file.name for file in files] == ["s3://logs/2024/date=1/y.csv.gz", "s3://logs/2024/date=2/x.parquet"]
    assert data_name(files) == "2 files in 2024/"
