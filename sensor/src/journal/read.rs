//! The journal for who only asks: by SQL, also beside a sensor that writes, and after it.

use std::{cell::RefCell, path::Path};

use rusqlite::{
    Connection, Error,
    functions::{Context, FunctionFlags},
};

use super::{
    Folder, JournalError, cursor,
    schema::{self, Access},
    store::unsigned,
};

/// Events as rows of texts. A condition on a column goes by its index.
const VIEW: &str = "CREATE TEMP VIEW events AS SELECT event.position, event.time,
    run.text || coalesce('-' || event.sequence, '') AS id, run.text AS run, event.sequence,
    action.text AS action, event.severity, entity.text AS entity, user.text AS user, login.text AS login,
    executable.text AS executable, remote.text AS remote, line(event.block, event.position - event.block) AS line
    FROM event JOIN run ON run.id = event.run JOIN action ON action.id = event.action
    LEFT JOIN entity ON entity.id = event.entity LEFT JOIN user ON user.id = event.user
    LEFT JOIN login ON login.id = event.login LEFT JOIN executable ON executable.id = event.executable
    LEFT JOIN remote ON remote.id = event.remote";

/// Opens the journal in a folder to be asked, with the view `events`, and the function `line(block, place)` behind it.
///
/// # Errors
/// When there is none, or it isn't ours alone.
pub fn read_only(folder: &Path) -> Result<Connection, JournalError> {
    let folder = Folder::open(folder)?;
    let (connection, lines) = (schema::open(&folder, Access::Read)?, schema::open(&folder, Access::Read)?);
    let lines = RefCell::new((lines, None));
    let line = move |context: &mut Context<'_>| {
        let (block, place): (i64, i64) = (context.get(0)?, context.get(1)?);
        let (connection, known) =
            &mut *lines.try_borrow_mut().map_err(|error| Error::UserFunctionError(error.into()))?;
        match cursor::line(connection, known, block, unsigned(place)) {
            Ok(line) => Ok(Some(line)),
            // It was dropped since its row was read.
            Err(JournalError::Damaged { .. }) => Ok(None),
            Err(error) => Err(Error::UserFunctionError(error.into())),
        }
    };
    let failed = JournalError::database("opening");
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("line", 2, flags, line).map_err(&failed)?;
    // In this order: a change of where they are takes away what is temporary.
    connection.execute_batch("PRAGMA temp_store = MEMORY").map_err(&failed)?;
    connection.execute_batch(VIEW).map_err(&failed)?;
    Ok(connection)
}
