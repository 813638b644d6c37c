//! `sensor who`: who is on the host, from where, and what they do; also those whom no record of logins has.

use super::{Failure, Format, Give, Status, awaiting, host, list, lister, partly, table, user_id};
use crate::{host::Host, logins::Logins, look::Look};

mod report;
mod row;

/// `sensor who`.
#[derive(Debug, clap::Args)]
pub struct Who {
    /// Only sessions of this user: who logged in, or as whom any process in them acts, by whichever of its ids.
    #[arg(long, value_name = "NAME or UID")]
    pub user: Option<String>,
    /// Text, or JSON an object a line; text on a terminal, else JSON.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// Lists them.
///
/// # Errors
/// When no such user is known, /proc can't be read, or not all could be seen; the parts are named.
pub fn act(args: &Who) -> Result<(), Failure> {
    let host = host()?;
    let user = args.user.as_deref().map(|user| user_id(user, &host)).transpose()?;
    let look = awaiting(async { Look::at(&host, lister(&host)) })?.map_err(|error| {
        Failure::new(Status::Failed, format!("listing processes in {}: {error}", host.proc().display()))
    })?;
    let logins = Logins::read(host.root());
    let (mut rows, mut parts) = row::all(&look, &logins, &host, user);
    rows.sort_by_key(|row| (std::cmp::Reverse(row.severity), row.kind, row.since, row.pid));
    list(args.format, rows.iter().map(|row| &row.record), || {
        let lines: Vec<_> = rows.iter().map(report::line).collect();
        table(&report::heads(), &lines) + &report::sum(&rows, &logins)
    })?;
    parts.extend(look.parts);
    parts.extend(logins.parts);
    partly(&parts)
}

/// Tells all sessions.
pub(super) fn tell(look: &Look, host: &Host, give: &mut Give<'_>) -> Vec<String> {
    let logins = Logins::read(host.root());
    let (rows, mut parts) = row::all(look, &logins, host, None);
    let _: Option<&row::Row> = rows.iter().find(|row| give(&row.record).is_break());
    parts.extend(logins.parts);
    parts
}
