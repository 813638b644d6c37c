//! What can be typed.

use clap::{Parser, Subcommand};

use crate::action::{
    Catalogue, Failure, doctor, events, fields, files, hash, history, inspect, kill, lookup, port, ports, ps,
    query, recover, run, top, watch, who,
};

/// A Linux host sensor: who runs what, and what running binary loses its name.
#[derive(Debug, Parser)]
#[command(
    version,
    about = "A Linux host sensor: who runs what, and which running binary loses its name",
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Stream events until told to stop (SIGINT, SIGTERM); needs root.
    Run(run::Run),
    /// The events of `run`, live, for a person: as text on a terminal, of a user, a process or some sorts; needs root.
    Watch(watch::Watch),
    /// Who uses CPU, memory, disks and connections, live.
    Top(top::Top),
    /// What runs, and what is to be thought of each executable: the odd ones first.
    Ps(ps::Ps),
    /// What a process, or all processes of a user, have open, and who has the other end.
    Files(files::Files),
    /// Everything that listens, in every network namespace, and who can reach it: the suspicious first.
    Ports(ports::Ports),
    /// Close a port or the whole host, at once and so that it is undone by itself: the sensor's own rules of the firewall.
    Port(port::Port),
    /// Who is on the host, from where, doing what: also who is in no record of logins.
    Who(who::Who),
    /// What was run: by what still runs, shells' histories and sudo's logs; and what is missing in those.
    History(history::History),
    /// SQL over the journal and over what is so now: what runs, listens, is open, and who is on the host.
    Query(query::Query),
    /// All that is known of one process, on a page, and why it is suspicious.
    Inspect(inspect::Inspect),
    /// SHA-256 of what a process really executes and has mapped to be executed, or of a file.
    Hash(hash::Hash),
    /// What is known of a file by its hash: by local lists, packages, then VirusTotal; status 1 means malicious, 4 that nobody can say.
    Lookup(lookup::Lookup),
    /// What this kernel allows: which hook serves each event, what isn't seen, why, and what to do; needs root.
    Doctor(doctor::Doctor),
    /// A binary back, from the process that runs it or from what the sensor kept, also when it was deleted.
    Recover(recover::Recover),
    /// Ends processes that fight back: held still, kept as evidence, killed, and looked for again.
    Kill(kill::Kill),
    /// The catalogue of events.
    Events(Catalogue),
    /// The catalogue of fields.
    Fields(Catalogue),
}

impl Cli {
    /// Does it.
    ///
    /// # Errors
    /// What the verb says.
    pub fn act(self) -> Result<(), Failure> {
        match self.command {
            Command::Run(args) => run::act(&args),
            Command::Watch(args) => watch::act(&args),
            Command::Top(args) => top::act(&args),
            Command::Ps(args) => ps::act(&args),
            Command::Files(args) => files::act(&args),
            Command::Ports(args) => ports::act(&args),
            Command::Port(args) => match args.stops() {
                Some(port::Close { port, terms, .. }) => kill::act(&kill::Kill::of_port(
                    *port,
                    terms.yes,
                    terms.dry_run,
                    terms.reason.clone(),
                    terms.format,
                )),
                None => port::act(&args),
            },
            Command::Who(args) => who::act(&args),
            Command::History(args) => history::act(&args),
            Command::Query(args) => query::act(&args),
            Command::Inspect(args) => inspect::act(&args),
            Command::Hash(args) => hash::act(&args),
            Command::Lookup(args) => lookup::act(&args),
            Command::Doctor(args) => doctor::act(&args),
            Command::Recover(args) => recover::act(&args),
            Command::Kill(args) => kill::act(&args),
            Command::Events(args) => events::act(&args),
            Command::Fields(args) => fields::act(&args),
        }
    }
}
