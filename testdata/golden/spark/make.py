"""Makes the tables of this folder: one small table by Apache Spark for each thing that it can write.

A table is a folder below `tables/`; what Spark reads from it stands in `expected/<table>.parquet`, in
`expected/<table>@<version>.parquet` for older versions, and its change feed from the first version on in
`expected/<table>.changes.parquet`. Variants are text there, as JSON.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    mvn -q -B dependency:copy-dependencies -DoutputDirectory=jars -DincludeScope=runtime \
        -DincludeGroupIds=io.delta,io.unitycatalog
    venv/bin/python make.py jars

Needs Java 17. The rows are the same each time; names of files, ids and times are not.
"""

import importlib.metadata
import os
import pathlib
import shutil
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PINS = dict(line.split("==") for line in (HERE / "requirements.txt").read_text().split())
DELTA = "4.4.0"


def session(jars):
    """A Spark that is quick on small tables and keeps its files in a folder that goes away."""
    from pyspark.sql import SparkSession

    scratch = tempfile.mkdtemp()
    settings = {
        "spark.driver.extraClassPath": ":".join(str(it) for it in jars),
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -Dfile.encoding=UTF-8 -Dderby.system.home=" + scratch,
        "spark.driver.memory": "1g",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.warehouse.dir": scratch + "/warehouse",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": "1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.session.timeZone": "UTC",
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.leafNodeDefaultParallelism": "1",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.parquet.int96RebaseModeInWrite": "CORRECTED",
        "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
        "spark.sql.adaptive.enabled": "false",
    }
    builder = SparkSession.builder.master("local[2]").appName("golden")
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


# Each table: a name; statements, where {t} is the table; and what else there is to say:
#   select    the columns, if not all of them
#   versions  older versions whose rows are kept
#   changes   the version from which the change feed is kept
#   checksums are kept; in the other tables they are left out, as they say nothing new
CHECKPOINT = "CHECKPOINT"

TYPES = """(id BIGINT, boolean BOOLEAN, byte TINYINT, short SMALLINT, integer INT, float FLOAT, double DOUBLE,
    small DECIMAL(5,2), middle DECIMAL(18,9), large DECIMAL(38,18), text STRING, bytes BINARY, day DATE,
    at TIMESTAMP, local TIMESTAMP_NTZ, limited VARCHAR(10))"""

TABLES = [
    (
        "types",
        [
            "CREATE TABLE {t} " + TYPES + " USING delta",
            """INSERT INTO {t} VALUES
            (1, true, -128Y, -32768S, -2147483648, CAST('-Infinity' AS FLOAT), CAST('-Infinity' AS DOUBLE), -999.99,
             -999999999.999999999, -99999999999999999999.999999999999999999, '', X'', DATE'0001-01-01',
             TIMESTAMP'0001-01-01 00:00:00Z', TIMESTAMP_NTZ'0001-01-01 00:00:00', 'a'),
            (2, false, 127Y, 32767S, 2147483647, CAST('NaN' AS FLOAT), CAST('NaN' AS DOUBLE), 999.99,
             999999999.999999999, 99999999999999999999.999999999999999999, 'z\\u00e9\\u4e2d\\ud83d\\ude00', X'00ff10',
             DATE'9999-12-31', TIMESTAMP'9999-12-31 23:59:59.999999Z', TIMESTAMP_NTZ'9999-12-31 23:59:59.999999',
             'abcdefghij'),
            (3, true, 0Y, 0S, 0, CAST('-0.0' AS FLOAT), CAST('1e-300' AS DOUBLE), 0, 0.000000001, 0.000000000000000001,
             'a"b\\\\c', X'41', DATE'1969-12-31', TIMESTAMP'1969-12-31 23:59:59.999999Z',
             TIMESTAMP_NTZ'1969-12-31 23:59:59.999999', ''),
            (4, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null)""",
            "INSERT INTO {t} VALUES (5, true, 1Y, 1S, 1, 1, 1, 1, 1, 1, 'b', X'01', DATE'2024-02-29',"
            " TIMESTAMP'2024-02-29 12:34:56.123456Z', TIMESTAMP_NTZ'2024-02-29 12:34:56.123456', 'c')",
            CHECKPOINT,
        ],
        {"versions": [1]},
    ),
    (
        "timestamps",
        [
            "CREATE TABLE {t} (id INT, at TIMESTAMP, inside ARRAY<STRUCT<at: TIMESTAMP>>) USING delta",
            "SET spark.sql.parquet.outputTimestampType=INT96",
            "INSERT INTO {t} VALUES (1, TIMESTAMP'0001-01-01 00:00:00Z', array(struct(TIMESTAMP'9999-12-31 23:59:59.999999Z'))),"
            " (2, TIMESTAMP'9999-12-31 23:59:59.999999Z', array(struct(TIMESTAMP'0001-01-01 00:00:00Z'), null))",
            "SET spark.sql.parquet.outputTimestampType=TIMESTAMP_MILLIS",
            "INSERT INTO {t} VALUES (3, TIMESTAMP'0001-01-01 00:00:00.001Z', array(struct(TIMESTAMP'1969-12-31 23:59:59.999Z')))",
            "SET spark.sql.parquet.outputTimestampType=TIMESTAMP_MICROS",
            "INSERT INTO {t} VALUES (4, TIMESTAMP'9999-12-31 23:59:59.999999Z', array(struct(TIMESTAMP'1969-12-31 23:59:59.999999Z')))",
            CHECKPOINT,
            "SET spark.sql.parquet.outputTimestampType=INT96",
        ],
        {},
    ),
    (
        "nested",
        [
            """CREATE TABLE {t} (id INT, s STRUCT<a: INT, t: STRUCT<b: STRING, c: ARRAY<INT>>>, l ARRAY<STRUCT<x: INT, y: STRING>>,
            m MAP<STRING, STRUCT<v: DOUBLE>>, deep ARRAY<ARRAY<MAP<INT, STRING>>>) USING delta""",
            """INSERT INTO {t} VALUES
            (1, named_struct('a', 1, 't', named_struct('b', 'x', 'c', array(1, null, 3))), array(named_struct('x', 1, 'y', 'p'), null),
             map('k', named_struct('v', 1.5D), 'n', null), array(array(map(1, 'one', 2, null)), null, array())),
            (2, null, null, null, null),
            (3, named_struct('a', null, 't', null), array(), map(), array())""",
        ],
        {},
    ),
    (
        "legacy_lists",
        [
            "SET spark.sql.parquet.writeLegacyFormat=true",
            "CREATE TABLE {t} (id INT, l ARRAY<INT>, s ARRAY<STRUCT<a: INT>>, m MAP<STRING, INT>, d DECIMAL(5,2)) USING delta",
            """INSERT INTO {t} VALUES (1, array(1, null, 2), array(named_struct('a', 1), null), map('a', 1, 'b', null), 1.25),
            (2, null, null, null, null), (3, array(), array(), map(), -999.99)""",
            "SET spark.sql.parquet.writeLegacyFormat=false",
        ],
        {},
    ),
    (
        "void",
        [
            "CREATE TABLE {t} (id INT, nothing VOID, s STRUCT<a: INT, nothing: VOID>) USING delta",
            "INSERT INTO {t} VALUES (1, null, named_struct('a', 1, 'nothing', null)), (2, null, null)",
        ],
        {},
    ),
    (
        "partitions",
        [
            """CREATE TABLE {t} (id INT, p_text STRING, p_int INT, p_decimal DECIMAL(10,2), p_date DATE, p_at TIMESTAMP,
            p_local TIMESTAMP_NTZ, p_double DOUBLE, p_flag BOOLEAN) USING delta
            PARTITIONED BY (p_text, p_int, p_decimal, p_date, p_at, p_local, p_double, p_flag)""",
            """INSERT INTO {t} VALUES
            (1, 'a b/c=d%e:f', 1, 1.50, DATE'2024-02-29', TIMESTAMP'2024-02-29 12:34:56.123456Z',
             TIMESTAMP_NTZ'2024-01-01 12:00:00', 1.5D, true),
            (2, '\\u00e9\\u4e2d', -1, -0.01, DATE'1969-12-31', TIMESTAMP'1969-12-31 23:59:59.999999Z',
             TIMESTAMP_NTZ'1969-12-31 23:59:59.5', CAST('NaN' AS DOUBLE), false),
            (3, null, null, null, null, null, null, null, null),
            (4, '', 2147483647, 99999999.99, DATE'9999-12-31', TIMESTAMP'9999-12-31 23:59:59Z',
             TIMESTAMP_NTZ'9999-12-31 23:59:59.999999', CAST('-Infinity' AS DOUBLE), null)""",
            CHECKPOINT,
            "DELETE FROM {t} WHERE id = 3",
        ],
        {"versions": [1]},
    ),
    (
        "deletion_vectors",
        [
            "CREATE TABLE {t} (id BIGINT, v STRING) USING delta TBLPROPERTIES ('delta.enableDeletionVectors' = true)",
            "INSERT INTO {t} SELECT id, concat('v', id) FROM range(40)",
            "INSERT INTO {t} SELECT id, concat('v', id) FROM range(40, 50)",
            "DELETE FROM {t} WHERE id % 7 = 0",
            "UPDATE {t} SET v = 'new' WHERE id = 10",
            CHECKPOINT,
            "DELETE FROM {t} WHERE id < 3",
        ],
        {"versions": [2, 3], "checksums": True},
    ),
    (
        "mapping_name",
        [
            """CREATE TABLE {t} (id INT, old STRING, gone INT, s STRUCT<a: INT, b: INT>, p STRING) USING delta PARTITIONED BY (p)
            TBLPROPERTIES ('delta.columnMapping.mode' = 'name')""",
            "INSERT INTO {t} VALUES (1, 'x', 10, named_struct('a', 1, 'b', 2), 'p1'), (2, 'y', 20, null, null)",
            "ALTER TABLE {t} RENAME COLUMN old TO new",
            "ALTER TABLE {t} RENAME COLUMN s.a TO aa",
            "ALTER TABLE {t} RENAME COLUMN p TO part",
            "ALTER TABLE {t} DROP COLUMN gone",
            "ALTER TABLE {t} DROP COLUMN s.b",
            "ALTER TABLE {t} ADD COLUMN gone STRING",
            "ALTER TABLE {t} ADD COLUMN `odd ,;{{}}()=name` INT",
            "INSERT INTO {t} VALUES (3, 'z', named_struct('aa', 3), 'p1', 'back', 7)",
            CHECKPOINT,
        ],
        {"versions": [1], "checksums": True},
    ),
    (
        "mapping_id",
        [
            """CREATE TABLE {t} (id INT, l ARRAY<STRUCT<a: INT, b: STRING>>, m MAP<STRING, STRUCT<c: INT>>, at DATE) USING delta
            PARTITIONED BY (at) TBLPROPERTIES ('delta.columnMapping.mode' = 'id')""",
            """INSERT INTO {t} VALUES (1, array(named_struct('a', 1, 'b', 'x')), map('k', named_struct('c', 1)), DATE'2024-01-01')""",
            "ALTER TABLE {t} RENAME COLUMN l.element.a TO renamed",
            "ALTER TABLE {t} RENAME COLUMN id TO key",
            "INSERT INTO {t} VALUES (2, null, null, null)",
        ],
        {},
    ),
    (
        "mapping_upgrade",
        [
            "CREATE TABLE {t} (id INT, v STRING) USING delta",
            "INSERT INTO {t} VALUES (1, 'a')",
            """ALTER TABLE {t} SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name', 'delta.minReaderVersion' = '2',
            'delta.minWriterVersion' = '5')""",
            "ALTER TABLE {t} RENAME COLUMN v TO w",
            "INSERT INTO {t} VALUES (2, 'b')",
        ],
        {"versions": [1]},
    ),
    (
        "type_widening",
        [
            """CREATE TABLE {t} (id INT, b2l TINYINT, s2i SMALLINT, f2d FLOAT, i2d INT, i2n INT, l2n BIGINT, d2d DECIMAL(5,2),
            d2t DATE, st STRUCT<x: TINYINT>, ar ARRAY<SMALLINT>, mp MAP<TINYINT, INT>) USING delta
            TBLPROPERTIES ('delta.enableTypeWidening' = true, 'delta.feature.timestampNtz' = 'supported')""",
            """INSERT INTO {t} VALUES (1, 127Y, 32767S, 0.1F, 2147483647, -2147483648, 9223372036854775807, 999.99,
            DATE'1969-12-31', named_struct('x', -128Y), array(1S, null, -32768S), map(1Y, 2147483647)),
            (2, null, null, null, null, null, null, null, null, null, null, null)""",
            "ALTER TABLE {t} ALTER COLUMN b2l TYPE SMALLINT",
            "ALTER TABLE {t} ALTER COLUMN b2l TYPE BIGINT",
            "ALTER TABLE {t} ALTER COLUMN s2i TYPE INT",
            "ALTER TABLE {t} ALTER COLUMN f2d TYPE DOUBLE",
            "ALTER TABLE {t} ALTER COLUMN i2d TYPE DOUBLE",
            "ALTER TABLE {t} ALTER COLUMN i2n TYPE DECIMAL(12,2)",
            "ALTER TABLE {t} ALTER COLUMN l2n TYPE DECIMAL(22,2)",
            "ALTER TABLE {t} ALTER COLUMN d2d TYPE DECIMAL(20,5)",
            "ALTER TABLE {t} ALTER COLUMN d2t TYPE TIMESTAMP_NTZ",
            "ALTER TABLE {t} ALTER COLUMN st.x TYPE INT",
            "ALTER TABLE {t} ALTER COLUMN ar.element TYPE INT",
            "ALTER TABLE {t} ALTER COLUMN mp.key TYPE INT",
            "ALTER TABLE {t} ALTER COLUMN mp.value TYPE BIGINT",
            """INSERT INTO {t} VALUES (3, 9223372036854775807, 2147483647, 0.1D, 0.5D, 1.25, 1.25, 123456789012345.12345,
            TIMESTAMP_NTZ'2024-01-01 12:00:00.000001', named_struct('x', 2147483647), array(2147483647), map(2147483647, 9223372036854775807))""",
            CHECKPOINT,
        ],
        {"versions": [1]},
    ),
    (
        "type_widening_partition",
        [
            """CREATE TABLE {t} (id INT, i INT, n INT, d DATE, z DECIMAL(4,1)) USING delta PARTITIONED BY (i, n, d, z)
            TBLPROPERTIES ('delta.enableTypeWidening' = true, 'delta.feature.timestampNtz' = 'supported')""",
            "INSERT INTO {t} VALUES (1, 1, 1, DATE'1969-12-31', 1.5), (2, null, null, null, null)",
            "ALTER TABLE {t} ALTER COLUMN i TYPE BIGINT",
            "ALTER TABLE {t} ALTER COLUMN n TYPE DECIMAL(12,2)",
            "ALTER TABLE {t} ALTER COLUMN d TYPE TIMESTAMP_NTZ",
            "ALTER TABLE {t} ALTER COLUMN z TYPE DECIMAL(10,3)",
            "INSERT INTO {t} VALUES (3, 9223372036854775807, 1.25, TIMESTAMP_NTZ'2024-01-01 12:00:00', 2.125)",
            CHECKPOINT,
        ],
        {},
    ),
    (
        "v2_checkpoint_parquet",
        [
            """CREATE TABLE {t} (id INT, p STRING) USING delta PARTITIONED BY (p)
            TBLPROPERTIES ('delta.checkpointPolicy' = 'v2')""",
            "SET spark.databricks.delta.checkpointV2.topLevelFileFormat=parquet",
            "INSERT INTO {t} VALUES (1, 'a'), (2, 'b')",
            CHECKPOINT,
            "INSERT INTO {t} VALUES (3, 'a')",
        ],
        {},
    ),
    (
        "v2_checkpoint_json",
        [
            """CREATE TABLE {t} (id INT, p STRING) USING delta PARTITIONED BY (p)
            TBLPROPERTIES ('delta.checkpointPolicy' = 'v2', 'delta.enableDeletionVectors' = true)""",
            "SET spark.databricks.delta.checkpointV2.topLevelFileFormat=json",
            "INSERT INTO {t} VALUES (1, 'a'), (2, 'a'), (3, 'b')",
            "DELETE FROM {t} WHERE id = 2",
            CHECKPOINT,
            "INSERT INTO {t} VALUES (4, 'a')",
            "SET spark.databricks.delta.checkpointV2.topLevelFileFormat=parquet",
        ],
        {},
    ),
    (
        "multi_part_checkpoint",
        [
            "CREATE TABLE {t} (id INT) USING delta",
            "INSERT INTO {t} VALUES (1)",
            "INSERT INTO {t} VALUES (2)",
            "INSERT INTO {t} VALUES (3)",
            "SET spark.databricks.delta.checkpoint.partSize=3",
            CHECKPOINT,
            "RESET spark.databricks.delta.checkpoint.partSize",
        ],
        {},
    ),
    (
        "struct_stats",
        [
            """CREATE TABLE {t} (id INT, at TIMESTAMP, s STRUCT<d: DECIMAL(10,2)>, p DATE) USING delta PARTITIONED BY (p)
            TBLPROPERTIES ('delta.checkpoint.writeStatsAsJson' = false, 'delta.checkpoint.writeStatsAsStruct' = true)""",
            "INSERT INTO {t} VALUES (1, TIMESTAMP'2024-01-01 00:00:00.999999Z', named_struct('d', 1.25), DATE'2024-01-01')",
            "INSERT INTO {t} VALUES (2, TIMESTAMP'9999-12-31 23:59:59.999999Z', named_struct('d', 99999999.99), DATE'2024-01-02')",
            "INSERT INTO {t} VALUES (3, null, null, null)",
            CHECKPOINT,
        ],
        {},
    ),
    (
        "row_tracking",
        [
            "CREATE TABLE {t} (id INT, v STRING) USING delta TBLPROPERTIES ('delta.enableRowTracking' = true)",
            "INSERT INTO {t} VALUES (1, 'a'), (2, 'b'), (3, 'c')",
            "INSERT INTO {t} VALUES (4, 'd')",
            "UPDATE {t} SET v = 'changed' WHERE id = 2",
            "DELETE FROM {t} WHERE id = 1",
            CHECKPOINT,
        ],
        {
            "checksums": True,
            "select": "*, _metadata.row_id AS _row_id, _metadata.row_commit_version AS _commit_version",
        },
    ),
    (
        "change_feed",
        [
            """CREATE TABLE {t} (id INT, v STRING, p STRING) USING delta PARTITIONED BY (p)
            TBLPROPERTIES ('delta.enableChangeDataFeed' = true)""",
            "INSERT INTO {t} VALUES (1, 'a', 'x'), (2, 'b', 'x'), (3, 'c', 'y')",
            "UPDATE {t} SET v = 'new' WHERE id = 2",
            "DELETE FROM {t} WHERE id = 1",
            "DELETE FROM {t} WHERE p = 'y'",
            "INSERT INTO {t} VALUES (4, 'd', null)",
        ],
        {"changes": 0},
    ),
    (
        "change_feed_vectors",
        [
            """CREATE TABLE {t} (id INT, v STRING) USING delta
            TBLPROPERTIES ('delta.enableChangeDataFeed' = true, 'delta.enableDeletionVectors' = true)""",
            "INSERT INTO {t} SELECT CAST(id AS INT), concat('v', id) FROM range(10)",
            "DELETE FROM {t} WHERE id = 3",
            "UPDATE {t} SET v = 'new' WHERE id = 4",
            "DELETE FROM {t} WHERE id > 7",
        ],
        {"changes": 0},
    ),
    (
        "commit_timestamps",
        [
            "CREATE TABLE {t} (id INT) USING delta",
            "INSERT INTO {t} VALUES (1)",
            "ALTER TABLE {t} SET TBLPROPERTIES ('delta.enableInCommitTimestamps' = true)",
            "INSERT INTO {t} VALUES (2)",
        ],
        {"checksums": True},
    ),
    (
        "variant",
        [
            """CREATE TABLE {t} (id INT, v VARIANT, s STRUCT<v: VARIANT>, l ARRAY<VARIANT>, m MAP<STRING, VARIANT>) USING delta""",
            """INSERT INTO {t} SELECT id, parse_json(j), named_struct('v', parse_json(j)), array(parse_json(j), null),
            map('k', parse_json(j)) FROM VALUES
            (1, '{{"a": 1, "b": [true, null, "x", 1.5, {{"c": {{}}}}], "\\u00e9": "\\u4e2d"}}'), (2, 'null'), (3, '12345678901234567890'),
            (4, '1.5'), (5, '"text"'), (6, '[]') AS t(id, j)""",
            "INSERT INTO {t} VALUES (7, null, null, null, null), (8, null, named_struct('v', null), array(), map())",
            """INSERT INTO {t} SELECT 9, to_variant_object(named_struct('d', DATE'2024-02-29', 't', TIMESTAMP'2024-02-29 12:34:56.123456Z',
            'n', TIMESTAMP_NTZ'2024-02-29 12:34:56.5', 'b', X'00ff', 'f', 0.1F, 'm', 123.45BD, 'y', 1Y)), null, null, null""",
            CHECKPOINT,
        ],
        {
            "select": "id, to_json(v) AS v, IF(s IS NULL, NULL, named_struct('v', to_json(s.v))) AS s,"
            " transform(l, it -> to_json(it)) AS l, transform_values(m, (k, it) -> to_json(it)) AS m"
        },
    ),
    (
        "variant_shredded",
        [
            "SET spark.sql.variant.writeShredding.enabled=true",
            "SET spark.sql.variant.inferShreddingSchema=false",
            "SET spark.sql.variant.forceShreddingSchemaForTest=a INT, b STRUCT<c: STRING, d: DECIMAL(9,2)>, l ARRAY<INT>, t TIMESTAMP",
            """CREATE TABLE {t} (id INT, v VARIANT, s STRUCT<v: VARIANT>) USING delta
            TBLPROPERTIES ('delta.enableVariantShredding' = true)""",
            """INSERT INTO {t} SELECT id, parse_json(j), named_struct('v', parse_json(j)) FROM VALUES
            (1, '{{"a": 1, "b": {{"c": "x", "d": 1.25}}, "l": [1, 2, 3]}}'),
            (2, '{{"a": "not a number", "b": {{"c": 5, "e": [1]}}, "l": [1, "two", null], "z": true}}'),
            (3, '{{"b": null, "l": {{"x": 1}}}}'), (4, '[1, 2]'), (5, '7'), (6, 'null'), (7, '{{}}'), (8, '{{"a": null, "b": {{}}, "l": []}}')
            AS t(id, j)""",
            """INSERT INTO {t} SELECT 10, to_variant_object(named_struct('t', TIMESTAMP'2024-02-29 12:34:56.123456Z', 'a', 3)), null""",
            "INSERT INTO {t} VALUES (9, null, null)",
            "SET spark.sql.variant.forceShreddingSchemaForTest=BIGINT",
            "INSERT INTO {t} SELECT id, parse_json(j), null FROM VALUES (11, '12'), (12, '\"s\"'), (13, 'null') AS t(id, j)",
            "RESET spark.sql.variant.forceShreddingSchemaForTest",
        ],
        {"select": "id, to_json(v) AS v, IF(s IS NULL, NULL, named_struct('v', to_json(s.v))) AS s"},
    ),
    (
        "writer_features",
        [
            """CREATE TABLE {t} (id BIGINT GENERATED BY DEFAULT AS IDENTITY, n INT NOT NULL, twice INT GENERATED ALWAYS AS (n * 2),
            word STRING DEFAULT 'none') USING delta
            TBLPROPERTIES ('delta.feature.allowColumnDefaults' = 'supported', 'delta.feature.vacuumProtocolCheck' = 'supported')""",
            "ALTER TABLE {t} ADD CONSTRAINT positive CHECK (n > 0)",
            "INSERT INTO {t} (n) VALUES (1), (2)",
            "INSERT INTO {t} (n, word) VALUES (3, 'three')",
        ],
        {},
    ),
    (
        "clustering",
        [
            "CREATE TABLE {t} (id INT, v STRING) USING delta CLUSTER BY (v)",
            "INSERT INTO {t} VALUES (1, 'a'), (2, 'b')",
            "INSERT INTO {t} VALUES (3, 'a'), (4, 'c')",
            "OPTIMIZE {t}",
        ],
        {},
    ),
    (
        "drop_feature",
        [
            "CREATE TABLE {t} (id INT, v STRING) USING delta TBLPROPERTIES ('delta.enableDeletionVectors' = true)",
            "INSERT INTO {t} SELECT CAST(id AS INT), concat('v', id) FROM range(10)",
            "DELETE FROM {t} WHERE id = 3",
            "ALTER TABLE {t} DROP FEATURE deletionVectors",
            "INSERT INTO {t} VALUES (10, 'v10')",
        ],
        {"versions": [2]},
    ),
    (
        "iceberg_compat",
        [
            """CREATE TABLE {t} (id INT, l ARRAY<INT>, p STRING) USING delta PARTITIONED BY (p)
            TBLPROPERTIES ('delta.columnMapping.mode' = 'name', 'delta.enableIcebergCompatV2' = true)""",
            "INSERT INTO {t} VALUES (1, array(1, 2), 'x')",
        ],
        {},
    ),
    (
        "materialized_partitions",
        [
            """CREATE TABLE {t} (id INT, p STRING) USING delta PARTITIONED BY (p)
            TBLPROPERTIES ('delta.feature.materializePartitionColumns' = 'supported')""",
            "INSERT INTO {t} VALUES (1, 'x'), (2, null)",
        ],
        {},
    ),
    (
        "maintenance",
        [
            "CREATE TABLE {t} (id INT, v STRING) USING delta TBLPROPERTIES ('delta.randomizeFilePrefixes' = true)",
            "INSERT INTO {t} VALUES (1, 'a')",
            "INSERT INTO {t} VALUES (2, 'b')",
            "OPTIMIZE {t}",
            "DELETE FROM {t} WHERE id = 1",
            "RESTORE TABLE {t} TO VERSION AS OF 3",
            "ALTER TABLE {t} ADD COLUMN late INT",
            "INSERT OVERWRITE {t} VALUES (3, 'c', 30)",
            "VACUUM {t}",
        ],
        {"versions": [2, 5]},
    ),
    (
        "statistics",
        [
            """CREATE TABLE {t} (id INT, long_text STRING, f DOUBLE, s STRUCT<t: STRING>, unindexed STRING) USING delta
            TBLPROPERTIES ('delta.dataSkippingNumIndexedCols' = '4')""",
            """INSERT INTO {t} VALUES (1, repeat('z', 50), CAST('NaN' AS DOUBLE), named_struct('t', 'x'), 'u'),
            (2, repeat('\\ud83d\\ude00', 40), -0.0D, null, null)""",
            "INSERT INTO {t} VALUES (3, repeat('\\u007f', 40), 0.0D, named_struct('t', null), 'w')",
            CHECKPOINT,
        ],
        {},
    ),
]


def run(spark, folder, name, statements, options):
    """Makes one table and writes down its rows."""
    import pyarrow.parquet as pq

    location = folder / "tables" / name
    table = f"delta.`{location}`"
    for statement in statements:
        if statement == CHECKPOINT:
            spark._jvm.org.apache.spark.sql.delta.DeltaLog.forTable(spark._jsparkSession, str(location)).checkpoint()
        elif statement.startswith("CREATE TABLE {t}"):
            # Properties and clustering need a name of the catalog; the files are the same.
            spark.sql(f"DROP TABLE IF EXISTS {name}")
            rest = statement.replace("{{", "{").replace("}}", "}").removeprefix("CREATE TABLE {t}")
            rest = rest.replace("USING delta", f"USING delta LOCATION '{location}'")
            spark.sql(f"CREATE TABLE {name}{rest}")
        else:
            spark.sql(statement.replace("{t}", name).replace("{{", "{").replace("}}", "}"))
    select = options.get("select", "*")
    (folder / "expected").mkdir(parents=True, exist_ok=True)

    def keep(query, file):
        rows = spark.sql(query).coalesce(1).toArrow()
        pq.write_table(rows, folder / "expected" / f"{file}.parquet", compression="zstd", store_schema=True)

    keep(f"SELECT {select} FROM {name}", name)
    for version in options.get("versions", []):
        keep(f"SELECT {select} FROM {table} VERSION AS OF {version}", f"{name}@{version}")
    if "changes" in options:
        spark.conf.set("spark.sql.streaming.schemaInference", "true")
        reader = spark.read.format("delta").option("readChangeFeed", "true")
        rows = reader.option("startingVersion", options["changes"]).load(str(location)).drop("_commit_timestamp")
        pq.write_table(rows.coalesce(1).toArrow(), folder / "expected" / f"{name}.changes.parquet", compression="zstd")


def tidy(folder, checksums):
    """Side files of Hadoop say nothing that is not elsewhere, and no checkout keeps empty folders."""
    for file in folder.rglob("*.crc"):
        if file.name.startswith(".") or not checksums:
            file.unlink()
    for inner in sorted(folder.rglob("*"), reverse=True):
        if inner.is_dir() and not any(inner.iterdir()):
            inner.rmdir()


def main():
    for package, version in PINS.items():
        have = importlib.metadata.version(package)
        assert have == version, f"{package} is {have}, this folder was made with {version}"
    jars = sorted(pathlib.Path(sys.argv[1]).resolve().glob("*.jar"))
    assert any(it.name == f"delta-spark_4.2_2.13-{DELTA}.jar" for it in jars), f"no Delta {DELTA} in {sys.argv[1]}"
    folder = pathlib.Path(sys.argv[2]).resolve() if len(sys.argv) > 2 else HERE
    only = set(sys.argv[3:])
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("LC_ALL", "C.UTF-8")
    spark = session(jars)
    failed = []
    for name, statements, options in TABLES:
        if only and name not in only:
            continue
        shutil.rmtree(folder / "tables" / name, ignore_errors=True)
        begun = time.monotonic()
        try:
            run(spark, folder, name, statements, options)
        except Exception as error:
            failed.append(name)
            print(f"{name}: {str(error)[:600]}", file=sys.stderr, flush=True)
        print(f"{name} {time.monotonic() - begun:.1f} s", flush=True)
        tidy(folder / "tables" / name, options.get("checksums", False))
    spark.stop()
    assert not failed, failed


if __name__ == "__main__":
    main()
