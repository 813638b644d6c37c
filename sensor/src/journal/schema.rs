//! The tables of the journal, and how one of an older sensor becomes one of this.

use rusqlite::{
    Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, config::DbConfig,
};

use super::{Folder, JournalError};

/// Says that a database is a journal (`PRAGMA application_id`): `snsr`.
const APPLICATION: i64 = 0x736e_7372;
/// What made each version of the one before (`PRAGMA user_version`); the first makes it of an empty database.
const STEPS: &[&str] = &[include_str!("schema/1.sql")];
/// How long is waited for another who writes: none does so for long.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
/// Memory for pages of the one who writes, KiB; the others have SQLite's own 2 MiB.
const CACHE_KIB: i64 = 32 * 1024;

/// How a journal is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// By the one who keeps it.
    Keep,
    /// By one who only notes how far he is.
    Note,
    /// By one who changes nothing.
    Read,
}

/// Opens the database of a folder.
///
/// # Errors
/// When it can't be opened, is damaged, or another version's.
pub fn open(folder: &Folder, access: Access) -> Result<Connection, JournalError> {
    let failed = JournalError::database("opening");
    let mut flags = OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    flags |= match access {
        Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        _ => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    if access == Access::Keep {
        folder.touch()?;
    }
    let mut connection = Connection::open_with_flags(folder.database(), flags).map_err(&failed)?;
    connection.busy_timeout(PATIENCE).map_err(&failed)?;
    match access {
        Access::Keep => {
            // Of a new one, before anything is in it.
            connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL").map_err(&failed)?;
            let mode: String =
                connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(&failed)?;
            if mode != "wal" {
                let what = format!("its file system takes no journal of this kind (journal_mode is {mode})");
                return Err(JournalError::Folder { path: folder.path().to_owned(), what });
            }
            connection.pragma_update(None, "cache_size", -CACHE_KIB).map_err(&failed)?;
            migrate(&mut connection, folder, STEPS)?;
        }
        // Who keeps it also moves what is written into the database.
        Access::Note => connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(&failed)?,
        Access::Read => {}
    }
    if access != Access::Keep {
        // One that was set aside meanwhile would take away, by its name, what is written ahead of its successor.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(&failed)?;
    }
    // Whole after a loss of power, though not up to the last second.
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(&failed)?;
    connection.pragma_update(None, "trusted_schema", false).map_err(&failed)?;
    connection.pragma_update(None, "cell_size_check", true).map_err(&failed)?;
    Ok(connection)
}

fn number(connection: &Connection, pragma: &str) -> Result<i64, JournalError> {
    let read = connection.pragma_query_value(None, pragma, |row| row.get(0));
    read.map_err(JournalError::database("reading the version of"))
}

/// Brings it from the version it has to this one, wholly or not at all.
fn migrate(connection: &mut Connection, folder: &Folder, steps: &[&str]) -> Result<(), JournalError> {
    let failed = JournalError::database("bringing to this version");
    let work = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
    let (application, version) = (number(&work, "application_id")?, number(&work, "user_version")?);
    let known = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    if version > known && application == APPLICATION {
        return Err(JournalError::Newer { path: folder.path().to_owned(), version, known });
    }
    if !ours(&work, application, version)? {
        return Err(JournalError::Damaged { what: "it is the database of something else".to_owned() });
    }
    if version == known {
        return Ok(());
    }
    for step in steps.iter().skip(usize::try_from(version).unwrap_or(0)) {
        work.execute_batch(step).map_err(&failed)?;
    }
    work.pragma_update(None, "application_id", APPLICATION).map_err(&failed)?;
    work.pragma_update(None, "user_version", known).map_err(&failed)?;
    work.commit().map_err(&failed)
}

/// One that has a version is marked as a journal; one that has none is empty.
fn ours(work: &Transaction<'_>, application: i64, version: i64) -> Result<bool, JournalError> {
    if version != 0 {
        return Ok(application == APPLICATION && version > 0);
    }
    let any = work.query_row("SELECT 1 FROM sqlite_schema LIMIT 1", [], |_| Ok(())).optional();
    Ok(any.map_err(JournalError::database("reading"))?.is_none())
}

/// Looks through all of it for damage.
///
/// # Errors
/// When there is some.
pub fn check(connection: &Connection) -> Result<(), JournalError> {
    let said: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(JournalError::database("looking through"))?;
    match said.as_str() {
        "ok" => Ok(()),
        _ => Err(JournalError::Damaged { what: said }),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;

    fn place(name: &str) -> (PathBuf, Folder) {
        let path = std::env::temp_dir().join(format!("sensor-journal-schema-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        let folder = Folder::make(&path).unwrap();
        (path, folder)
    }

    #[test]
    fn an_empty_database_becomes_one_of_this_version() {
        let (path, folder) = place("empty");
        // By hand, as anybody's SQLite makes it: not even in the mode that the journal has.
        let by_hand = Connection::open(folder.database()).unwrap();
        by_hand.execute_batch("CREATE TABLE a(b); DROP TABLE a").unwrap();
        assert_eq!(number(&by_hand, "user_version").unwrap(), 0);
        drop(by_hand);
        let connection = open(&folder, Access::Keep).unwrap();
        assert_eq!(number(&connection, "user_version").unwrap(), STEPS.len() as i64);
        assert_eq!(number(&connection, "application_id").unwrap(), APPLICATION);
        check(&connection).unwrap();
        connection.execute("INSERT INTO cursor(name, position) VALUES ('a', 1)", []).unwrap();
        drop(connection);
        let connection = open(&folder, Access::Keep).unwrap();
        assert_eq!(connection.query_row("SELECT position FROM cursor", [], |row| row.get(0)), Ok(1));
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn an_older_one_keeps_what_it_has_or_stays_as_it_is() {
        let (path, folder) = place("older");
        drop(open(&folder, Access::Keep).unwrap());
        let mut connection = Connection::open(folder.database()).unwrap();
        connection.execute("INSERT INTO cursor(name, position) VALUES ('a', 7)", []).unwrap();
        let wrong = [STEPS[0], "ALTER TABLE cursor ADD COLUMN more; SELECT nonsense"];
        assert!(migrate(&mut connection, &folder, &wrong).is_err());
        assert_eq!(number(&connection, "user_version").unwrap(), 1);
        assert!(connection.prepare("SELECT more FROM cursor").is_err(), "half a step is none");
        let next = [STEPS[0], "ALTER TABLE cursor ADD COLUMN more INTEGER NOT NULL DEFAULT 3"];
        migrate(&mut connection, &folder, &next).unwrap();
        let row = connection
            .query_row("SELECT position, more FROM cursor", [], |row| Ok((row.get(0)?, row.get(1)?)));
        assert_eq!((row.unwrap(), number(&connection, "user_version").unwrap()), ((7, 3), 2));
        drop(connection);
        let error = open(&folder, Access::Keep).unwrap_err();
        assert!(matches!(error, JournalError::Newer { version: 2, .. }), "{error}");
        assert!(!error.damaged(), "it is left as it is");
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn what_is_no_journal_is_told() {
        let (path, folder) = place("other");
        fs::write(folder.database(), "this is no database, whatever its name says, and is long enough")
            .unwrap();
        assert!(open(&folder, Access::Keep).unwrap_err().damaged());
        fs::remove_file(folder.database()).unwrap();
        Connection::open(folder.database()).unwrap().execute_batch("CREATE TABLE a(b)").unwrap();
        assert!(open(&folder, Access::Keep).unwrap_err().damaged());
        fs::remove_dir_all(&path).unwrap();
    }
}
