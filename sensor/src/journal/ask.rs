//! One statement of SQL over the journal and over tables that are filled for it: it reads and changes nothing, for a bounded time, in
//! bounded memory.

use std::{
    collections::BTreeSet,
    ops::ControlFlow,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    time::Duration,
};

use rusqlite::{
    Batch, Connection, Error, ErrorCode,
    fallible_iterator::FallibleIterator,
    functions::FunctionFlags,
    hooks::{AuthAction, AuthContext, Authorization},
    params_from_iter,
    types::{ToSql, ToSqlOutput, Value, ValueRef},
};

use super::{JournalError, read_only};
use crate::{background, format, record::Time};

/// What a field of a row holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Nothing is known.
    Nothing,
    /// A whole number.
    Whole(i64),
    /// Another number.
    Real(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// A table that is filled when a statement reads it.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    /// Its name, a plain word.
    pub name: &'a str,
    /// Its columns, plain words.
    pub columns: &'a [&'a str],
}

/// Who gets an answer, as it comes.
pub trait Answer {
    /// The names of the columns, once.
    fn head(&mut self, names: &[String]);

    /// A row; gives whether more are wanted.
    fn row(&mut self, cells: Vec<Cell>) -> ControlFlow<()>;
}

/// How much a statement may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the first row's search to the last.
    pub time: Duration,
    /// All that SQLite holds, bytes.
    pub memory: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The statement is none, or does more than read.
    #[error("in the statement: {0}")]
    Statement(String),
    /// It took too long.
    #[error("the statement took longer than {} s: narrow it (WHERE, LIMIT) or give it more with --timeout", .0.as_secs())]
    Time(Duration),
    /// It took too much.
    #[error("the statement needs more than {} MiB of memory: narrow it (WHERE, LIMIT) or give it more with --memory", .0 >> 20)]
    Memory(u64),
    /// The journal can't be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The time can't be watched.
    #[error("watching the time")]
    System(#[source] std::io::Error),
}

/// The tables that a statement reads, each with its columns; of a table that is only counted, an empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads(BTreeSet<(String, String)>);

impl Reads {
    /// Whether it reads this table.
    #[must_use]
    pub fn table(&self, name: &str) -> bool {
        self.0.iter().any(|(table, _)| table == name)
    }

    /// Whether it reads this column of it.
    #[must_use]
    pub fn column(&self, table: &str, column: &str) -> bool {
        self.0.iter().any(|(of, name)| of == table && name == column)
    }
}

/// Who can be asked.
pub struct Asker {
    connection: Connection,
    limits: Limits,
    reads: Arc<Mutex<Reads>>,
    /// Whether only reading is let.
    closed: Arc<AtomicBool>,
}

impl Asker {
    /// Opens the journal in a folder, or only these tables, which are empty at first; `now`, nanoseconds since 1970, is what the
    /// function `now()` gives.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub fn open(
        journal: Option<&Path>,
        tables: &[Table<'_>],
        limits: Limits,
        now: i64,
    ) -> Result<Self, AskError> {
        let failed = JournalError::database("opening for a question");
        let connection = match journal {
            Some(folder) => read_only(folder)?,
            None => {
                let connection = Connection::open_in_memory().map_err(&failed)?;
                connection.execute_batch("PRAGMA temp_store = MEMORY").map_err(&failed)?;
                connection
            }
        };
        functions(&connection, now).map_err(&failed)?;
        let limit = limits.memory;
        connection.execute_batch(&format!("PRAGMA hard_heap_limit = {limit}")).map_err(&failed)?;
        for Table { name, columns } in tables {
            let sql = format!("CREATE TEMP TABLE {name} ({})", columns.join(", "));
            connection.execute_batch(&sql).map_err(&failed)?;
        }
        let (reads, closed) = (Arc::default(), Arc::new(AtomicBool::new(true)));
        let mut asker = Self { connection, limits, reads, closed };
        asker.watch().map_err(&failed)?;
        Ok(asker)
    }

    /// Lets statements read, and nothing else; notes which tables they do.
    fn watch(&mut self) -> rusqlite::Result<()> {
        let (reads, closed) = (Arc::clone(&self.reads), Arc::clone(&self.closed));
        let judge = move |context: AuthContext<'_>| match context.action {
            _ if !closed.load(Ordering::Relaxed) => Authorization::Allow,
            AuthAction::Read { table_name, column_name } => {
                noted(&reads).0.insert((table_name.to_owned(), column_name.to_owned()));
                Authorization::Allow
            }
            AuthAction::Select | AuthAction::Recursive => Authorization::Allow,
            AuthAction::Function { function_name }
                if !function_name.eq_ignore_ascii_case("load_extension") =>
            {
                Authorization::Allow
            }
            _ => Authorization::Deny,
        };
        self.connection.authorizer(Some(judge))
    }

    /// Which tables a statement reads, without being run.
    ///
    /// # Errors
    /// When it is no statement, more than one, or would do more than read.
    pub fn reads(&self, sql: &str) -> Result<Reads, AskError> {
        noted(&self.reads).0.clear();
        let mut batch = Batch::new(&self.connection, sql);
        match batch.next() {
            Ok(Some(statement)) if statement.readonly() && statement.column_count() > 0 => {}
            Ok(Some(_)) => {
                return Err(AskError::Statement("it gives no rows: it must be a SELECT".to_owned()));
            }
            Ok(None) => return Err(AskError::Statement("there is none: give a SELECT".to_owned())),
            Err(error) => return Err(self.explain(&error, false)),
        }
        match batch.next() {
            Ok(None) => Ok(noted(&self.reads).clone()),
            _ => Err(AskError::Statement("there are several: give one".to_owned())),
        }
    }

    /// Fills a table.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn fill(
        &self,
        table: &Table<'_>,
        rows: impl FnOnce(&mut dyn FnMut(Vec<Cell>) -> ControlFlow<()>),
    ) -> Result<(), AskError> {
        self.closed.store(false, Ordering::Relaxed);
        let marks = vec!["?"; table.columns.len()].join(", ");
        let filled = self.insert(&format!("INSERT INTO {} VALUES ({marks})", table.name), rows);
        self.closed.store(true, Ordering::Relaxed);
        filled.map_err(|error| self.explain(&error, false))
    }

    fn insert(
        &self,
        sql: &str,
        rows: impl FnOnce(&mut dyn FnMut(Vec<Cell>) -> ControlFlow<()>),
    ) -> rusqlite::Result<()> {
        let mut insert = self.connection.prepare(sql)?;
        let mut failed = None;
        rows(&mut |row| match insert.execute(params_from_iter(row)) {
            Ok(_) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        });
        failed.map_or(Ok(()), Err)
    }

    /// Runs a statement.
    ///
    /// # Errors
    /// When it fails, or takes more than it may.
    pub fn ask<A: Answer + ?Sized>(&self, sql: &str, answer: &mut A) -> Result<(), AskError> {
        let late = Arc::new(AtomicBool::new(false));
        // Dropped when this is done, by which the one who waits ends.
        let _done = self.watch_time(Arc::clone(&late)).map_err(AskError::System)?;
        let mut run = || -> rusqlite::Result<()> {
            let mut statement = self.connection.prepare(sql)?;
            let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
            answer.head(&names);
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let cells = (0..names.len()).map(|at| row.get_ref(at).map(cell)).collect::<Result<_, _>>()?;
                if answer.row(cells).is_break() {
                    break;
                }
            }
            Ok(())
        };
        run().map_err(|error| self.explain(&error, late.load(Ordering::Relaxed)))
    }

    /// Interrupts the statement when its time is over.
    fn watch_time(&self, late: Arc<AtomicBool>) -> std::io::Result<Sender<()>> {
        let (done, ends) = channel();
        let (handle, time) = (self.connection.get_interrupt_handle(), self.limits.time);
        background::begin("time", move || {
            if ends.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                late.store(true, Ordering::Relaxed);
                handle.interrupt();
            }
        })?;
        Ok(done)
    }

    fn explain(&self, error: &Error, late: bool) -> AskError {
        match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) if late => AskError::Time(self.limits.time),
            Some(ErrorCode::OutOfMemory) => AskError::Memory(self.limits.memory),
            Some(ErrorCode::AuthorizationForStatementDenied) => {
                AskError::Statement("it would do more than read: only SELECT is let".to_owned())
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                AskError::Journal(JournalError::Damaged { what: error.to_string() })
            }
            _ => AskError::Statement(said(error)),
        }
    }
}

/// What statements can call besides SQLite's own: `now()`, and `iso(time)` for a time as people read it.
fn functions(connection: &Connection, now: i64) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("now", 0, flags, move |_| Ok(now))?;
    connection.create_scalar_function("iso", 1, flags, |context| {
        let time: Option<i64> = context.get(0)?;
        Ok(time.map(|time| {
            let mut text = Vec::new();
            format::rfc3339(Time(time), &mut text);
            String::from_utf8_lossy(&text).into_owned()
        }))
    })
}

fn noted(reads: &Mutex<Reads>) -> MutexGuard<'_, Reads> {
    reads.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What SQLite says, without the whole statement.
fn said(error: &Error) -> String {
    match error {
        Error::SqlInputError { msg, .. } => msg.clone(),
        Error::SqliteFailure(_, Some(said)) => said.clone(),
        other => other.to_string(),
    }
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Nothing,
        ValueRef::Integer(number) => Cell::Whole(number),
        ValueRef::Real(number) => Cell::Real(number),
        ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Cell::Bytes(bytes.to_vec()),
    }
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Nothing => ToSqlOutput::Owned(Value::Null),
            Self::Whole(number) => ToSqlOutput::Owned(Value::Integer(*number)),
            Self::Real(number) => ToSqlOutput::Owned(Value::Real(*number)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Table<'static> = Table { name: "processes", columns: &["pid", "name"] };
    const LIMITS: Limits = Limits { time: Duration::from_secs(20), memory: 64 << 20 };

    fn asker(limits: Limits) -> Asker {
        Asker::open(None, &[TABLE], limits, 1_700_000_000_123_456_789).unwrap()
    }

    impl Answer for Vec<Vec<Cell>> {
        fn head(&mut self, names: &[String]) {
            assert_eq!(names.len(), 1);
        }

        fn row(&mut self, cells: Vec<Cell>) -> ControlFlow<()> {
            self.push(cells);
            ControlFlow::Continue(())
        }
    }

    fn rows(asker: &Asker, sql: &str) -> Result<Vec<Vec<Cell>>, AskError> {
        let mut all = Vec::new();
        asker.reads(sql)?;
        asker.ask(sql, &mut all)?;
        Ok(all)
    }

    #[test]
    fn tables_are_filled_and_read() {
        let asker = asker(LIMITS);
        let reads = asker.reads("SELECT count(*) FROM processes").unwrap();
        assert!(reads.table("processes") && !reads.column("processes", "name"));
        assert!(asker.reads("SELECT * FROM processes").unwrap().column("processes", "name"));
        assert_eq!(asker.reads("SELECT 1").unwrap(), Reads::default());
        let row = |pid, name: &str| vec![Cell::Whole(pid), Cell::Text(name.to_owned())];
        asker
            .fill(&TABLE, |give| {
                for row in [row(1, "init"), row(2, "x\u{1b}")] {
                    let _ = give(row);
                }
            })
            .unwrap();
        assert_eq!(
            rows(&asker, "SELECT name FROM processes WHERE pid = 1").unwrap(),
            [[Cell::Text("init".to_owned())]]
        );
    }

    #[test]
    fn times_are_shown_as_people_read_them() {
        let iso = rows(&asker(LIMITS), "SELECT iso(now())").unwrap();
        assert_eq!(iso, [[Cell::Text("2023-11-14T22:13:20.123456789Z".to_owned())]]);
    }

    #[test]
    fn whoever_asks_changes_nothing() {
        let asker = asker(LIMITS);
        for wrong in [
            "DELETE FROM processes",
            "INSERT INTO processes VALUES (1, 2)",
            "CREATE TABLE x(y)",
            "ATTACH '/tmp/x' AS x",
            "PRAGMA hard_heap_limit = 0",
            "VACUUM INTO '/tmp/x'",
            "SELECT load_extension('/tmp/x')",
            "SELECT 1; SELECT 2",
            "SELECT 1; DELETE FROM processes",
            "",
            "-- nothing",
            "SELEC",
            "SELECT * FROM nowhere",
        ] {
            assert!(matches!(rows(&asker, wrong), Err(AskError::Statement(_))), "{wrong}");
        }
    }

    #[test]
    fn time_and_memory_are_bounded() {
        let endless =
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
        let short = asker(Limits { time: Duration::from_millis(50), ..LIMITS });
        assert!(matches!(rows(&short, endless), Err(AskError::Time(_))));
        let large = "SELECT zeroblob(900000000)";
        assert!(matches!(rows(&asker(LIMITS), large), Err(AskError::Memory(_))));
    }
}
