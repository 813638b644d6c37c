//! `sensor top`: who uses processors, memory, disks and connections, live or for one interval.

use std::{
    io::{self, IsTerminal, Read, Write},
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::{Receiver, channel},
    time::MissedTickBehavior,
};

use self::{
    keys::{Key, Keys},
    row::{By, Interval, Source},
    screen::{Looks, Screen},
    source::Counters,
    table::Names,
    view::{View, Wish},
    window::Window,
};
use super::{Failure, Format, Status, colour};
use crate::{background, enrich, field::Field, format, host::Host, process::Table};

mod backend;
mod holders;
mod keys;
mod lives;
mod programs;
mod report;
mod row;
mod screen;
mod source;
mod table;
mod view;
mod window;

/// `sensor top`.
#[derive(Debug, clap::Args)]
pub struct Top {
    /// What rows are of.
    #[arg(long, value_enum, default_value_t = By::Process)]
    by: By,
    /// Print one interval and end.
    #[arg(long)]
    once: bool,
    /// How long an interval is, seconds; from 0.1 to 3600.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: Duration,
    /// Text, or JSON an object a row; without a screen. Text on a terminal, else JSON.
    #[arg(long, value_enum)]
    format: Option<Format>,
}

/// How long the first interval on a screen is at most.
const FIRST: Duration = Duration::from_millis(250);
/// How often within an interval the source is asked to take what can't wait.
const TEND: Duration = Duration::from_millis(100);

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if !(0.1..=3600.0).contains(&seconds) {
        return Err("not from 0.1 to 3600".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Shows it.
///
/// # Errors
/// With the status of the contract: failed, or told only in part.
pub fn act(args: &Top) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(Status::Failed, error);
    let host = super::host()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let inside = runtime.enter();
    let mut top = State {
        by: args.by,
        length: args.interval,
        names: enrich::users(&host.passwd()),
        source: Box::new(Counters::open(&host)?),
        host,
    };
    drop(inside);
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    let screen = io::stdin().is_terminal() && io::stdout().is_terminal() && !dumb;
    let usual = if io::stdout().is_terminal() { Format::Text } else { Format::Json };
    let result = match args.format {
        None if screen && !args.once => runtime.block_on(top.live()),
        format => runtime.block_on(top.print(format.unwrap_or(usual), args.once)),
    };
    // The thread that reads keys may still wait for one.
    runtime.shutdown_background();
    result
}

/// What there is while it runs.
struct State {
    host: Host,
    by: By,
    length: Duration,
    names: Names,
    source: Box<dyn Source>,
}

/// The signals that end it; a terminal that closes sends the last.
struct Ends(Signal, Signal, Signal);

impl Ends {
    fn new() -> io::Result<Self> {
        Ok(Self(
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ))
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
            _ = self.2.recv() => {}
        }
    }
}

impl State {
    fn ticks(&self) -> tokio::time::Interval {
        let mut ticks = tokio::time::interval(self.length);
        // The first tick comes after one length: the source has just been opened.
        ticks.reset();
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    }

    /// Prints one interval, or one after the other.
    async fn print(&mut self, format: Format, once: bool) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::new(Status::Failed, error);
        let (mut ends, mut ticks) = (Ends::new().map_err(failed)?, self.ticks());
        let (mut told, mut tend) = (Vec::new(), tokio::time::interval(TEND));
        loop {
            tokio::select! {
                () = ends.any() => return Ok(()),
                _ = tend.tick() => {
                    self.source.tend();
                    continue;
                }
                _ = ticks.tick() => {}
            }
            let interval = self.source.interval()?;
            if !left(io::stdout().lock().write_all(&self.report(&interval, format, once)?))? {
                return Ok(());
            }
            if once {
                return in_part(&interval.told);
            }
            if interval.told != told {
                told.clone_from(&interval.told);
                told.iter().for_each(|line| say!("{line}"));
            }
        }
    }

    fn report(&self, interval: &Interval, format: Format, once: bool) -> Result<Vec<u8>, Failure> {
        if format == Format::Text {
            let table = report::text(interval, self.by, &self.names);
            return Ok(if once { table } else { table + "\n" }.into_bytes());
        }
        let json =
            format::named(format.name()).ok_or_else(|| Failure::new(Status::Usage, "no such format"))?;
        let mut common = self.host.common();
        common.set(Field::Timestamp, self.host.boot().at(self.host.boot_now()));
        let ids = Table::new(self.host.boot_id.clone(), self.host.boot());
        Ok(report::json(interval, self.by, &self.names, (&common, &ids), json))
    }

    /// On the screen, until it is left or goes away.
    async fn live(&mut self) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::new(Status::Failed, error);
        let (mut ends, mut ticks) = (Ends::new().map_err(failed)?, self.ticks());
        let mut resized = signal(SignalKind::window_change()).map_err(failed)?;
        let mut typed = typed().map_err(failed)?;
        let nanos = u64::try_from(self.length.as_nanos()).unwrap_or(u64::MAX);
        let looks = Looks { colour: colour(), utf8: utf8() };
        let mut screen = Screen::open(looks).map_err(failed)?;
        let mut view = View::default();
        // All of them are kept up to date, so that none has lost its past when it is asked for.
        let mut windows = By::ALL.map(|by| Window::new(by, nanos));
        let mut still: Option<[Window; By::ALL.len()]> = None;
        // Nobody wants to look at nothing for a long interval.
        ticks.reset_after(self.length.min(FIRST));
        let (mut tend, mut changed) = (tokio::time::interval(TEND), true);
        loop {
            let shown = still.as_ref().unwrap_or(&windows).iter().find(|window| window.by() == self.by);
            if let Some(window) = shown
                && std::mem::replace(&mut changed, true)
                && !left(screen.draw(window, &mut view, &self.names))?
            {
                return Ok(());
            }
            tokio::select! {
                () = ends.any() => return Ok(()),
                _ = resized.recv() => if !left(screen.resize())? { return Ok(()) },
                _ = tend.tick() => {
                    self.source.tend();
                    changed = false;
                }
                _ = ticks.tick() => {
                    let interval = self.source.interval()?;
                    windows.iter_mut().for_each(|window| window.take(&interval));
                }
                keys = typed.recv() => {
                    // Nothing can be typed any more: the terminal is gone.
                    let Some(keys) = keys else { return Ok(()) };
                    for key in keys {
                        match view.key(key, self.by, screen.page()) {
                            Wish::Quit => return Ok(()),
                            Wish::By(by) => self.by = by,
                            Wish::Draw => {}
                        }
                    }
                    still = view.paused.then(|| still.take().unwrap_or_else(|| windows.clone()));
                }
            }
        }
    }
}

/// Keys as they are typed, until there is nobody who could type.
fn typed() -> io::Result<Receiver<Vec<Key>>> {
    let (send, typed) = channel(16);
    background::begin("keys", move || {
        let (mut keys, mut bytes) = (Keys::default(), [0; 256]);
        loop {
            match io::stdin().lock().read(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return,
                Ok(size) => {
                    if send.blocking_send(keys.read(bytes.get(..size).unwrap_or(&[]))).is_err() {
                        return;
                    }
                }
            }
        }
    })?;
    Ok(typed)
}

/// Whether a reader or a terminal is still there: going away is no failure.
fn left(written: io::Result<()>) -> Result<bool, Failure> {
    use nix::libc::{EIO, ENXIO};
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) if matches!(error.raw_os_error(), Some(EIO | ENXIO)) => Ok(false),
        Err(error) => Err(Failure::new(Status::Failed, format!("writing to standard output: {error}"))),
    }
}

fn in_part(told: &[String]) -> Result<(), Failure> {
    if told.is_empty() { Ok(()) } else { Err(Failure::new(Status::Part, told.join("; "))) }
}

/// Whether the terminal shows more than ASCII, by the first of these that is set (`locale(7)`).
fn utf8() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(|name| std::env::var(name).ok());
    let locale = set.into_iter().find(|value| !value.is_empty()).unwrap_or_default().to_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_bounds() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "0.05", "3601", "NaN", "inf", "x", ""] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
