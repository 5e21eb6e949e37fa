//! A small table from a compact description: what a test is about stays on one screen.

use lakebed::{Append, Committed, Create, Env, Overwrite, Result, Schema, Table};

use crate::rows::from_ndjson;

/// Describes a table: its schema, and one commit after another.
///
/// ```
/// use lakebed_testkit::builder::Builder;
///
/// let env = lakebed::Env::tokio();
/// let builder = Builder::new("day string, id long")
///     .partition_by(["day"])
///     .append(r#"{"day":"mon","id":1}"#)
///     .overwrite(r#"{"day":"tue","id":2}"#);
/// let table = futures::executor::block_on(builder.build(&env, "memory://doc/builder")).unwrap();
/// assert_eq!(table.location(), "memory://doc/builder");
/// ```
#[derive(Clone, Debug)]
pub struct Builder {
    ddl: String,
    partition_columns: Vec<String>,
    properties: Vec<(String, String)>,
    commits: Vec<Commit>,
}

#[derive(Clone, Debug)]
struct Commit {
    /// Schema of the rows, as DDL.
    ddl: String,
    rows: String,
    overwrite: bool,
    options: Append,
}

impl Builder {
    /// A table of this schema, in DDL. Making it is version 0.
    pub fn new(ddl: &str) -> Builder {
        Builder {
            ddl: ddl.to_string(),
            partition_columns: Vec::new(),
            properties: Vec::new(),
            commits: Vec::new(),
        }
    }

    /// Partition columns.
    #[must_use]
    pub fn partition_by<S: Into<String>>(self, columns: impl IntoIterator<Item = S>) -> Builder {
        Builder { partition_columns: columns.into_iter().map(Into::into).collect(), ..self }
    }

    /// A table property.
    #[must_use]
    pub fn property(mut self, key: &str, value: &str) -> Builder {
        self.properties.push((key.to_string(), value.to_string()));
        self
    }

    /// One more commit, which adds rows: one in JSON a line.
    #[must_use]
    pub fn append(self, rows: &str) -> Builder {
        self.append_with(rows, Append::new())
    }

    /// The same with options.
    #[must_use]
    pub fn append_with(self, rows: &str, options: Append) -> Builder {
        let ddl = self.last_ddl();
        self.commit(ddl, rows, false, options)
    }

    /// One more commit, which adds rows of a wider schema; later rows have it, too.
    #[must_use]
    pub fn evolve(self, ddl: &str, rows: &str) -> Builder {
        self.commit(ddl.to_string(), rows, false, Append::new().evolve_schema(true))
    }

    /// One more commit, which replaces the partitions that the rows name, or all rows of a table
    /// without partitions.
    #[must_use]
    pub fn overwrite(self, rows: &str) -> Builder {
        let ddl = self.last_ddl();
        self.commit(ddl, rows, true, Append::new())
    }

    fn last_ddl(&self) -> String {
        self.commits.last().map_or(&self.ddl, |it| &it.ddl).clone()
    }

    fn commit(mut self, ddl: String, rows: &str, overwrite: bool, options: Append) -> Builder {
        self.commits.push(Commit { ddl, rows: rows.to_string(), overwrite, options });
        self
    }

    /// Makes it at a location that the environment knows, e.g. in `memory://` or in a folder.
    ///
    /// # Errors
    ///
    /// Those of the verbs, and `invalid-data` for rows that are not of the schema.
    pub async fn build(&self, env: &Env, location: &str) -> Result<Table> {
        let table = Table::open_with(env, location)?;
        let create =
            Create::new(Schema::parse_ddl(&self.ddl)?).partition_by(&self.partition_columns);
        let create =
            self.properties.iter().fold(create, |it, (key, value)| it.property(key, value));
        table.create_here(create).await?;
        for commit in &self.commits {
            self.run(&table, commit).await?;
        }
        Ok(table)
    }

    async fn run(&self, table: &Table, commit: &Commit) -> Result<Committed> {
        let rows = from_ndjson(&Schema::parse_ddl(&commit.ddl)?, &commit.rows)?;
        let options = commit.options.clone();
        match (commit.overwrite, self.partition_columns.is_empty()) {
            (false, _) => table.append(rows, options).await,
            (true, true) => table.overwrite(rows, Overwrite::all().options(options)).await,
            (true, false) => table.overwrite(rows, Overwrite::partitions().options(options)).await,
        }
    }
}
