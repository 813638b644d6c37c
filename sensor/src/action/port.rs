//! `sensor port`: closes a port, or all of the host, and opens it again.

use std::{path::PathBuf, time::Duration};

use nix::unistd::geteuid;

use super::{Acting, Failure, Format, Status, configuration, list, partly, table};
use crate::{
    config::Config,
    event::contain::{Contained, Method},
    firewall::{
        self, Firewall, Known, Ledger, State,
        rule::{Cidr, Id, Port as Number, Rule, Scope, Way, span},
    },
    host::Host,
    procfs::Reader,
    record::Text,
};

mod keep;
mod make;
mod outputs;
mod report;

/// `sensor port`.
#[derive(Debug, clap::Args)]
pub struct Port {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

impl Port {
    /// The port whose listeners are to be ended, if that is what is wanted.
    #[must_use]
    pub fn stops(&self) -> Option<&Close> {
        match &self.verb {
            Verb::Close(close) if close.stop => Some(close),
            _ => None,
        }
    }
}

/// What can be done with rules.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Close a port of this host, for all but whom you allow; also where it leads into a container.
    Close(Close),
    /// Close everything, in, out and through, for all but whom you allow.
    Isolate(Isolate),
    /// The rules, what has become of each, and what ended by itself.
    List(List),
    /// Take a rule back.
    Undo(One),
    /// Keep a rule that would be undone by itself.
    Confirm(One),
    /// Put rules in force that were made with --persist; the host does so when it starts.
    Restore,
    /// End a rule in time; the sensor starts this by itself.
    #[command(hide = true)]
    Guard(One),
}

/// `sensor port close`.
#[derive(Debug, clap::Args)]
pub struct Close {
    /// The port: 8080 for TCP and UDP, or 8080/tcp, 53/udp.
    #[arg(value_name = "PORT[/tcp|/udp]")]
    pub port: Number,
    /// Who gets through: addresses and ranges.
    #[arg(long, value_name = "CIDR", num_args = 1.., value_delimiter = ',')]
    pub allow: Vec<Cidr>,
    /// End whoever listens there, as `sensor kill --port` does, and close nothing.
    #[arg(long, conflicts_with_all = ["allow", "lasts", "persist", "confirm_within"])]
    pub stop: bool,
    /// For how long, and so on.
    #[command(flatten)]
    pub terms: Terms,
}

/// `sensor port isolate`.
#[derive(Debug, clap::Args)]
pub struct Isolate {
    /// Who gets through, in and out: addresses and ranges. Nothing else does, name servers neither.
    #[arg(long, value_name = "CIDR", num_args = 1.., value_delimiter = ',', required = true)]
    pub allow: Vec<Cidr>,
    /// Configuration file (TOML): the hosts of its outputs get through too, so that events still arrive.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// For how long, and so on.
    #[command(flatten)]
    pub terms: Terms,
}

/// What is said of any new rule.
#[derive(Debug, clap::Args)]
pub struct Terms {
    /// Undo it by itself after this time: 90s, 15m, 1h, 7d.
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    pub lasts: Option<Duration>,
    /// Put it in force again when the host starts.
    #[arg(long)]
    pub persist: bool,
    /// Keep it without being asked.
    #[arg(long)]
    pub yes: bool,
    /// Undo it by itself unless it is confirmed within this time.
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "60s", conflicts_with = "yes")]
    pub confirm_within: Duration,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Show what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Text, or JSON an object a line; text on a terminal, else JSON.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// `sensor port list`.
#[derive(Debug, clap::Args)]
pub struct List {
    /// Text, or JSON an object a line; text on a terminal, else JSON.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// A verb about one rule.
#[derive(Debug, clap::Args)]
pub struct One {
    /// The rule's id, as `port list` shows it.
    pub id: Id,
}

/// Does it.
///
/// # Errors
/// What came in the way; when something was done but not all, the parts are named.
pub fn act(args: &Port) -> Result<(), Failure> {
    if !geteuid().is_root() {
        return Err(Failure::new(
            Status::NotPermitted,
            "rules of the firewall are for root: run it with sudo",
        ));
    }
    let mut desk = Desk::open(args.verb.format())?;
    match &args.verb {
        Verb::Close(close) => make::make(&mut desk, Scope::Close(close.port), &close.allow, &close.terms),
        Verb::Isolate(isolate) => {
            let config = configuration(isolate.config.as_deref(), None)?;
            desk.config.clone_from(&isolate.config);
            let mut allow = isolate.allow.clone();
            allow.extend(outputs::allowed(&config, &mut desk.parts));
            make::make(&mut desk, Scope::Isolate, &allow, &isolate.terms)
        }
        Verb::List(list) => all(&desk, list),
        Verb::Undo(one) => keep::undo(&mut desk, &one.id),
        Verb::Confirm(one) => keep::confirm(&mut desk, &one.id),
        Verb::Restore => keep::restore(&mut desk),
        Verb::Guard(one) => keep::guard(&mut desk, &one.id),
    }
}

impl Verb {
    /// In which format the answer is wanted, where there is a choice.
    fn format(&self) -> Option<Format> {
        match self {
            Self::Close(Close { terms, .. }) | Self::Isolate(Isolate { terms, .. }) => terms.format,
            Self::List(list) => list.format,
            Self::Undo(_) | Self::Confirm(_) | Self::Restore | Self::Guard(_) => None,
        }
    }
}

/// What all of these verbs need.
struct Desk {
    host: Host,
    reader: Reader,
    firewall: Firewall,
    ledger: Ledger,
    /// How what is done is told.
    format: Option<Format>,
    /// The configuration, if not the usual one.
    config: Option<PathBuf>,
    acting: Option<Acting>,
    parts: Vec<String>,
}

impl Desk {
    fn open(format: Option<Format>) -> Result<Self, Failure> {
        let host = Host::real().map_err(|error| Failure::new(Status::Failed, error))?;
        let reader = Reader::new(host.proc());
        let ledger = Ledger::open(host.root()).map_err(|error| {
            Failure::new(
                Status::Failed,
                format!("opening the records of rules, so nothing was done: {error}"),
            )
        })?;
        let firewall = Firewall::find(&reader);
        Ok(Self { host, reader, firewall, ledger, format, config: None, acting: None, parts: Vec::new() })
    }

    /// Tells what was done, as an event.
    fn tell(&mut self, method: Method, rule: &Rule, done: bool, sentence: &str) {
        let contained = Contained {
            method,
            target: Text::from(report::target(rule.scope)),
            why: rule.reason.clone().map(Text::from),
            done,
            sentence: Text::from(sentence.to_owned()),
            targets: Vec::new(),
            rule: Some(Text::from(rule.id.to_string())),
        };
        let acting = self.acting.get_or_insert_with(|| {
            // In need a port is closed whatever is wrong with a file.
            let config = configuration(self.config.as_deref(), None).unwrap_or_else(|why| {
                say!("runs at work are looked for where they usually are: {}", why.chain());
                Config::default()
            });
            Acting::new(&self.host, config.state.folder.get(), self.format)
        });
        acting.tell(&contained, &self.host);
    }

    fn known(&self) -> Result<Known, Failure> {
        self.ledger.all().map_err(|error| failed("listing the records of rules", error))
    }

    /// How it ends when no more is to be done: with the parts that weren't.
    fn rest(&mut self) -> Result<(), Failure> {
        let parts = std::mem::take(&mut self.parts);
        match parts.is_empty() {
            true => Ok(()),
            false => Err(Failure::new(Status::Part, format!("not done: {}", parts.join("; ")))),
        }
    }
}

fn failed(what: &str, why: impl std::fmt::Display) -> Failure {
    Failure::new(Status::Failed, format!("{what}: {why}"))
}

/// `sensor port list`.
fn all(desk: &Desk, args: &List) -> Result<(), Failure> {
    let known = desk.known()?;
    let (present, mut parts) = desk.firewall.present(&desk.host);
    parts.extend(known.broken);
    if let Some(why) = desk.firewall.no_nft()
        && known.rules.iter().any(|rule| rule.way == Way::Nftables)
    {
        parts.push(format!("whether rules that were made by nftables are in force: {why}"));
    }
    let mut rows: Vec<_> = known
        .rules
        .iter()
        .map(|rule| {
            let state = desk.firewall.state(rule, &present, &desk.host);
            let row = report::Row::of(rule, state.word(), &desk.host);
            let ends = matches!(state, State::InForce | State::Unconfirmed) && rule.end().is_some();
            match ends && !firewall::guard::lives(rule, &desk.reader) {
                true => row.with(
                    "its guard is gone: the kernel ends it in time all the same, and the next `sensor port` clears up",
                ),
                false => row,
            }
        })
        .collect();
    let unrecorded = present.iter().filter(|(id, ..)| !known.rules.iter().any(|rule| rule.id == *id));
    rows.extend(unrecorded.map(|(id, way, _)| report::Row::unrecorded(id, *way, &desk.host)));
    list(args.format, rows.iter().map(report::Row::record), || {
        let lines: Vec<_> = rows.iter().map(report::Row::line).collect();
        report::text(table(&report::heads(), &lines), rows.len(), &desk.ledger.last_told())
    })?;
    partly(&parts)
}
