//! `sensor kill`: ends processes that fight back, and nobody else by accident.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    time::Duration,
};

use nix::sys::signal::{SigSet, Signal};
use tokio::signal::unix::{SignalKind, signal};

use super::{Acting, Failure, Format, Status, awaiting, configuration, list, lister};
use crate::{
    config::Config,
    contain::{
        Containment, Id, Way,
        care::Care,
        evidence::Kept,
        frozen::{self, Frozen, Released},
        respawn::{PATIENCE, starters},
        sweep::Sweeper,
        targets::Targets,
    },
    event::{
        Key,
        contain::{Contained, Method, Target},
    },
    firewall::rule::Port,
    host::{Host, since_boot},
    procfs::Reader,
    record::Text,
};

mod asked;
mod report;
mod row;

use asked::Asked;
use row::{Result as Became, Row};

/// `sensor kill`.
#[derive(Debug, clap::Args)]
pub struct Kill {
    /// Who.
    #[command(flatten)]
    pub who: Who,
    /// Which id makes a process the user's.
    #[arg(long = "as", value_enum, value_name = "ID", default_value = "any", requires = "user")]
    pub by: By,
    /// Hold them still and keep what they execute, but let them live; the answer says how to go on.
    #[arg(long)]
    pub freeze: bool,
    /// Print what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Don't ask.
    #[arg(long)]
    pub yes: bool,
    /// Spare neither system accounts nor those by way of whom this command was started.
    #[arg(long)]
    pub force: bool,
    /// Why, for the event that tells of it.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// How long it is looked who comes again, seconds; from 0 to 3600.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub verify: Duration,
    /// Don't keep what they execute.
    #[arg(long)]
    pub no_evidence: bool,
    /// By what they are held and ended: the best that this host has, unless it is said.
    #[arg(long, value_enum, value_name = "MEANS", default_value = "cgroup")]
    pub means: Means,
    /// Configuration file (TOML), which says where executables are kept.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Text, or JSON an object a line; text on a terminal, else JSON.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// Who is meant: one of these.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Who {
    /// All processes of a user.
    #[arg(long, value_name = "NAME or UID")]
    pub user: Option<String>,
    /// One process.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,
    /// A process and all below it.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub tree: Option<u32>,
    /// Whatever executes a file of this SHA-256, also one that was deleted.
    #[arg(long, value_name = "HASH", value_parser = asked::hash)]
    pub sha256: Option<Text>,
    /// Whoever listens on a port of this network namespace, or hears on it: 8080, 8080/tcp, 53/udp.
    #[arg(long, value_name = "PORT[/tcp|/udp]")]
    pub port: Option<Port>,
    /// Let those go on that --freeze left still.
    #[arg(long, value_name = "ID", conflicts_with_all = ["freeze", "dry_run", "force"])]
    pub thaw: Option<Id>,
}

impl Kill {
    /// Whoever holds a port, as `sensor port close --stop` wants it.
    #[must_use]
    pub fn of_port(
        port: Port,
        yes: bool,
        dry_run: bool,
        reason: Option<String>,
        format: Option<Format>,
    ) -> Self {
        let who = Who { user: None, pid: None, tree: None, sha256: None, port: Some(port), thaw: None };
        Self {
            who,
            by: By::Any,
            freeze: false,
            dry_run,
            yes,
            force: false,
            reason,
            verify: VERIFY,
            no_evidence: false,
            means: Means::Cgroup,
            config: None,
            format,
        }
    }
}

/// Which id makes a process a user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    /// Any of them.
    Any,
    /// Of the login, which su and sudo don't change.
    Login,
    /// Who started it.
    Real,
    /// As whom it acts.
    Effective,
}

/// By what processes are held and ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Means {
    /// A frozen cgroup; where none can be made, signals.
    Cgroup,
    /// SIGSTOP, then SIGKILL, to each.
    Signals,
    /// One SIGKILL to all of a user at once: nothing is held still, and what can't be reached so is ended by signals.
    User,
}

/// How long it is looked for who comes again unless it is said.
const VERIFY: Duration = Duration::from_secs(5);

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if !(0.0..=3600.0).contains(&seconds) {
        return Err("not from 0 to 3600".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Ends them, or says what would be done.
///
/// # Errors
/// When there is no such process, it isn't permitted, or somebody lives on or comes again, who is named.
pub fn act(args: &Kill) -> Result<(), Failure> {
    let config = configuration(args.config.as_deref(), None)?;
    let host = Host::real().map_err(|error| Failure::new(Status::Failed, error))?;
    if let Some(id) = args.who.thaw {
        return thaw(args, &host, &config, id);
    }
    // The programs that list belong to it.
    awaiting(async { contain(args, &host, &config) })?
}

fn contain(args: &Kill, host: &Host, config: &Config) -> Result<(), Failure> {
    let mut sweeper = Sweeper::new(lister(host), Reader::new(host.proc()));
    // Before the first look: who is born during it is meant too.
    let now = host.boot_now();
    let asked = Asked::of(args, host, &mut sweeper)?;
    let care = Care::new(&sweeper.reader, asked.system, args.force);
    let targets = Targets::new(asked.rule.clone(), care, now, config.evidence.max_hash_bytes);
    let way = match args.means {
        Means::Cgroup => Way::Cgroup,
        Means::Signals => Way::Signals,
        Means::User => Way::User,
    };
    let mut contain = Containment::new(host, Id(now), sweeper, targets, way);
    let rows = contain.find();
    if contain.targets.members.is_empty() && contain.targets.refused.is_empty() {
        return nobody(args, host, &mut contain, &asked);
    }
    let unseen = asked.unseen(args, &contain.targets);
    if args.dry_run || !args.yes {
        let plan = row::planned(host, &mut contain, &rows);
        if args.dry_run {
            answer(args, &plan, &report::plan(&plan, &asked, args.freeze))?;
            return super::partly(unseen.as_slice());
        }
        confirm(&plan, &asked, args.freeze)?;
    }
    let actor = Acting::new(host, config.state.folder.get(), args.format);
    if contain.targets.members.is_empty() {
        let rows = row::after(host, &mut contain, &row::Seen::default(), &Kept::default(), Became::Ended);
        let left: Vec<String> = unseen.into_iter().collect();
        tell(actor, host, args, &asked, &contain, &rows, &left);
        return finish(args, &rows, &contain, &[], left);
    }
    execute(args, host, config, &asked, contain, actor)
}

/// What was begun is brought to its end: neither a key nor the end of the terminal stops it half way.
fn execute(
    args: &Kill,
    host: &Host,
    config: &Config,
    asked: &Asked,
    mut contain: Containment<'_>,
    actor: Acting,
) -> Result<(), Failure> {
    // For the whole process, as other threads may wait for an answer that never comes: what listens takes the place of
    // what a signal does by itself, for good.
    let ends = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGTSTP];
    for end in ends {
        let held = signal(SignalKind::from_raw(end as i32));
        drop(held.map_err(|error| {
            Failure::new(Status::Failed, format!("nothing was done; holding back {end}: {error}"))
        })?);
    }
    // Nor is this thread interrupted. A set of valid signals can always be blocked.
    let _: nix::Result<()> = ends.into_iter().collect::<SigSet>().thread_block();
    let limits = (!args.no_evidence).then_some(&config.evidence);
    if contain.way != Way::User || args.freeze {
        contain.hold();
    }
    let seen = row::look(host, &mut contain);
    let mut kept = Kept::default();
    keep(&mut kept, limits, host, &seen, contain.targets.members.keys().copied().collect());
    let mut left = Vec::new();
    let became = match args.freeze {
        true => {
            left.extend(note(&contain, config));
            Became::Frozen
        }
        false => {
            contain.end();
            contain.verify(args.verify, |contain, new| {
                let more = row::few(host, contain, new);
                keep(&mut kept, limits, host, &more, new.to_vec());
            });
            if let Some(folder) = config.state.folder.get() {
                frozen::clear(folder, &contain.sweeper.reader);
            }
            Became::Ended
        }
    };
    let mut rows = row::after(host, &mut contain, &seen, &kept, became);
    row::add_comers(host, &mut rows, &contain.comers);
    let mut parts: Vec<String> =
        kept.told.into_iter().map(|told| format!("kept nothing more: {told}")).collect();
    parts.append(&mut contain.told);
    let unheld = contain.unheld();
    match args.freeze {
        true => left.extend(unheld.into_iter().chain(asked.unseen(args, &contain.targets))),
        false => {
            // Who couldn't be held was ended all the same, or is among those who live.
            parts.extend(unheld);
            left.extend(asked.left(args, host, &mut contain.sweeper).map(|left| left.why));
        }
    }
    tell(actor, host, args, asked, &contain, &rows, &left);
    // Told before: users write much of what is looked at now.
    let until = since_boot() + PATIENCE;
    row::add_starters(&mut rows, &contain.comers, |comer| starters(host, comer, until));
    finish(args, &rows, &contain, &parts, left)
}

fn keep(
    kept: &mut Kept,
    limits: Option<&crate::config::Evidence>,
    host: &Host,
    seen: &row::Seen,
    keys: Vec<Key>,
) {
    let Some(limits) = limits else { return };
    let now = u64::try_from(host.now().0 / 1_000_000_000).unwrap_or(0);
    let runners = keys.into_iter().filter_map(|key| {
        let (running, entity) = seen.runs(key)?;
        Some((key, running, entity))
    });
    kept.add(limits, &host.proc(), runners, now);
}

/// Notes who is frozen; else why that couldn't be done, a sentence.
fn note(contain: &Containment<'_>, config: &Config) -> Option<String> {
    let noted = match config.state.folder.get() {
        Some(folder) => Frozen::of(contain).note(folder),
        None => Err(io::Error::other("the configuration says to keep nothing (state.folder)")),
    };
    noted.err().map(|error| {
        format!(
            "it couldn't be noted who was frozen, so --thaw lets those in the cgroup go on, and not those who were \
             stopped, whom only `kill -CONT` does: {error}"
        )
    })
}

/// Nobody is meant, or nobody is seen who holds the port.
fn nobody(args: &Kill, host: &Host, contain: &mut Containment<'_>, asked: &Asked) -> Result<(), Failure> {
    if let Some(left) = asked.left(args, host, &mut contain.sweeper) {
        return Err(Failure::new(left.status, format!("nothing was done: {}", left.why)));
    }
    answer(args, &[], &format!("Nothing to do: there is no process of {}.\n", asked.shown))?;
    super::partly(&unread(contain))
}

/// Whose executables couldn't be hashed.
fn unread(contain: &Containment<'_>) -> Vec<String> {
    contain.targets.unread.values().cloned().collect()
}

fn answer(args: &Kill, rows: &[Row], text: &str) -> Result<(), Failure> {
    list(args.format, rows.iter().map(|row| &row.record), || text.to_owned())
}

/// Asks the person at the terminal.
fn confirm(plan: &[Row], asked: &Asked, freeze: bool) -> Result<(), Failure> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Failure::new(
            Status::Usage,
            "there is no terminal to ask at, and nothing was done: --dry-run shows what would be, --yes does it",
        ));
    }
    let what = if freeze { "Freeze" } else { "Kill" };
    let meant = plan.iter().filter(|row| row.became == Became::Planned).count();
    if meant == 0 {
        return Ok(());
    }
    let asked =
        format!("{}\n{what} {meant} processes of {}? [y/N] ", report::plan(plan, asked, freeze), asked.shown);
    let failed = |error: io::Error| Failure::new(Status::Failed, format!("asking at the terminal: {error}"));
    io::stderr().write_all(asked.as_bytes()).map_err(failed)?;
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(failed)?;
    match line.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::new(Status::Failed, "nothing was done")),
    }
}

fn tell(
    mut actor: Acting,
    host: &Host,
    args: &Kill,
    asked: &Asked,
    contain: &Containment<'_>,
    rows: &[Row],
    left: &[String],
) {
    let method = if args.freeze { Method::Freeze } else { Method::Kill };
    let targets = rows.iter().map(Row::target).collect();
    let done = rows.iter().all(|row| row.became.is_done()) && unread(contain).is_empty() && left.is_empty();
    let contained = Contained {
        method,
        target: Text::from(asked.target.clone()),
        why: args.reason.clone().map(Text::from),
        done,
        sentence: Text::from(report::sentence(rows)),
        targets,
        rule: None,
    };
    actor.tell(&contained, host);
}

fn finish(
    args: &Kill,
    rows: &[Row],
    contain: &Containment<'_>,
    told: &[String],
    more: Vec<String>,
) -> Result<(), Failure> {
    answer(args, rows, &report::after(rows, contain, told, args))?;
    // What a person reads below the list, others read here.
    if !super::is_text(args.format) {
        told.iter().for_each(|sentence| say!("{sentence}"));
    }
    let mut left = report::left(rows);
    left.extend(unread(contain));
    left.extend(more);
    if left.is_empty() {
        return Ok(());
    }
    let nothing = rows.iter().all(|row| matches!(row.became, Became::Refused) || row.forbidden);
    let (status, what) = match nothing && !rows.is_empty() {
        true => (Status::NotPermitted, "nothing was done: "),
        false => (Status::Part, "not all of it is done: "),
    };
    Err(Failure::new(status, format!("{what}{}", left.join("; "))))
}

/// Lets those go on who were left still.
fn thaw(args: &Kill, host: &Host, config: &Config, id: Id) -> Result<(), Failure> {
    let folder = config.state.folder.get();
    let noted = folder.and_then(|folder| Frozen::read(folder, id).ok());
    let frozen = noted.clone().unwrap_or_else(|| Frozen::unknown(id));
    let actor = Acting::new(host, config.state.folder.get(), args.format);
    let reader = Reader::new(host.proc());
    let Released { failed, group } = frozen.release(&reader);
    if noted.is_none() && group.is_err() {
        return Err(Failure::new(Status::Failed, format!("nothing is frozen by the id {id}")));
    }
    let rows = row::thawed(host, &frozen, &failed, &reader);
    let mut left = report::left(&rows);
    left.extend(group.err().map(|error| format!("letting the cgroup of {id} go on: {error}")));
    let targets: Vec<Target> = rows.iter().map(Row::target).collect();
    let sentence = format!("{} processes go on", report::count(&rows, Became::Thawed));
    let contained = Contained {
        method: Method::Thaw,
        target: Text::from(format!("frozen {id}")),
        why: args.reason.clone().map(Text::from),
        done: left.is_empty(),
        sentence: Text::from(sentence.clone()),
        targets,
        rule: None,
    };
    let mut actor = actor;
    actor.tell(&contained, host);
    answer(args, &rows, &format!("{sentence}.\n"))?;
    if !left.is_empty() {
        let error = format!("not all go on: {}; do it again, as root", left.join("; "));
        return Err(Failure::new(Status::Part, error));
    }
    if let Some(folder) = folder.filter(|_| noted.is_some()) {
        frozen.forget(folder).map_err(|error| {
            Failure::new(
                Status::Part,
                format!("the note of what was frozen stays in {}: {error}", folder.display()),
            )
        })?;
    }
    Ok(())
}
