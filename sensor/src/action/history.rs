//! `sensor history`: what was run, from all that remembers it, merged; and whose memory was tampered with.
//!
//! The sensor's own journal of events is none of its sources: `sensor query` asks that.

use jiff::{Span, Timestamp, civil::Date, tz::TimeZone};

use super::{Failure, Format, Status, awaiting, host, list, lister, partly, table, user_id};
use crate::{look::Look, record::Time};

mod judge;
mod report;
mod row;
mod sources;

/// `sensor history`.
#[derive(Debug, clap::Args)]
pub struct History {
    /// Only of this user; then of all its processes, also those of no session.
    #[arg(long, value_name = "NAME or UID")]
    pub user: Option<String>,
    /// Only since then: a time of RFC 3339, a date (UTC), or a span back from now, such as 2h or 3d.
    #[arg(long, value_name = "TIME, DATE or SPAN")]
    pub since: Option<String>,
    /// Text, or JSON an object a line; text on a terminal, else JSON.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// Tells it.
///
/// # Errors
/// When no such user is known, the time can't be understood, /proc can't be read, or not all could be read; the parts are named.
pub fn act(args: &History) -> Result<(), Failure> {
    let host = host()?;
    let user = args.user.as_deref().map(|user| user_id(user, &host)).transpose()?;
    let now = host.boot().at(host.boot_now());
    let since = args.since.as_deref().map(|since| moment(since, now)).transpose()?;
    let look = awaiting(async { Look::at(&host, lister(&host)) })?.map_err(|error| {
        Failure::new(Status::Failed, format!("listing processes in {}: {error}", host.proc().display()))
    })?;
    let (rows, parts) = sources::all(look, &host, user, since);
    list(args.format, rows.iter().map(|row| &row.record), || {
        let (files, commands): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.is_file);
        let odd: Vec<_> = files.iter().filter(|row| row.severity != 0).map(|row| report::file(row)).collect();
        let heading = if odd.is_empty() { String::new() } else { table(&report::file_heads(), &odd) + "\n" };
        let lines: Vec<_> = commands.iter().map(|row| report::command(row)).collect();
        heading + &table(&report::heads(), &lines) + &report::sum(&files, &commands)
    })?;
    partly(&parts)
}

/// The moment that was meant.
fn moment(text: &str, now: Time) -> Result<Time, Failure> {
    let whole = |time: Timestamp| i64::try_from(time.as_nanosecond()).ok().map(Time);
    let of_date = || {
        TimeZone::UTC.to_timestamp(text.parse::<Date>().ok()?.to_datetime(jiff::civil::Time::midnight())).ok()
    };
    let of_span = || {
        let span: Span = text.parse().ok()?;
        let back = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?;
        let now = Timestamp::from_nanosecond(i128::from(now.0)).ok()?;
        now.checked_sub(back.abs()).ok()
    };
    let time = text.parse::<Timestamp>().ok().or_else(of_date).or_else(of_span).and_then(whole);
    time.ok_or_else(|| {
        let text = crate::format::text::escape(text.as_bytes());
        let error = format!(
            "no moment: {text}; give a time such as 2026-11-26T08:00:00Z, a date, or a span such as 2h or 3d"
        );
        Failure::new(Status::Usage, error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_dates_or_spans() {
        let now = Time(1_764_180_000_000_000_000);
        let at = |text: &str| moment(text, now).map(|time| time.0 / 1_000_000_000).ok();
        assert_eq!(at("2025-11-26T18:00:00Z"), Some(1_764_180_000));
        assert_eq!(at("2025-11-26T19:00:00+01:00"), Some(1_764_180_000));
        assert_eq!(at("2025-11-26"), Some(1_764_115_200));
        assert_eq!(at("2h"), Some(1_764_172_800));
        assert_eq!(at("3d"), Some(1_763_920_800));
        assert_eq!(at("1w 2h"), Some(1_764_180_000 - 7 * 86_400 - 7200));
        for wrong in ["", "yesterday", "2", "2025-13-01", "1 month", "-", "99999999999y", "\u{1b}[2J"] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
    }
}
