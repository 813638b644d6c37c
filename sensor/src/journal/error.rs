//! What goes wrong with the journal, and what to do about it.

use std::{
    io,
    path::{Path, PathBuf},
};

use rusqlite::ErrorCode;

/// Why the journal can't be used, or not at this moment.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each says what it is in its message")]
pub enum JournalError {
    #[error("the journal's folder {}: {what}", path.display())]
    Folder { path: PathBuf, what: String },
    #[error(
        "another sensor{who} writes to the journal in {}: end it, or give this one another journal.folder",
        path.display()
    )]
    Taken { path: PathBuf, who: String },
    #[error(
        "the journal in {} is of a newer sensor (its version is {version}, this one knows {known}): run that one, or move the \
         journal away",
        path.display()
    )]
    Newer { path: PathBuf, version: i64, known: i64 },
    #[error("the journal is damaged: {what}")]
    Damaged { what: String },
    #[error("the journal is as large as it may be, and can't be made smaller while somebody reads it")]
    Held,
    #[error("{attempted} the journal")]
    Database { attempted: &'static str, source: rusqlite::Error },
    #[error("{attempted} the journal")]
    System { attempted: &'static str, source: io::Error },
}

impl JournalError {
    /// Makes an error of SQLite's into one that says what was attempted.
    pub(super) fn database(attempted: &'static str) -> impl Fn(rusqlite::Error) -> Self {
        move |source| Self::Database { attempted, source }
    }

    /// The folder, and what the system says of it.
    pub(super) fn folder(path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| Self::Folder { path: path.to_owned(), what: error.to_string() }
    }

    /// What it says in a row: without a source that isn't printed with it.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Database { source, .. } => format!("{self}: {source}"),
            Self::System { source, .. } => format!("{self}: {source}"),
            _ => self.to_string(),
        }
    }

    fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Database { source, .. } => source.sqlite_error_code(),
            _ => None,
        }
    }

    /// Whether what is stored can't be read any more, so that only a new journal helps.
    #[must_use]
    pub fn damaged(&self) -> bool {
        matches!(self, Self::Damaged { .. })
            || matches!(self.code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
    }

    /// Whether the disk didn't take something, which is also how SQLite finds that there is no space for what it shares.
    #[must_use]
    pub fn unwritten(&self) -> bool {
        self.code() == Some(ErrorCode::SystemIoFailure)
    }

    /// Whether there is no space.
    #[must_use]
    pub fn full(&self) -> bool {
        matches!(self, Self::Held) || self.code() == Some(ErrorCode::DiskFull)
    }
}
