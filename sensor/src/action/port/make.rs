//! A new rule: checked, written down, put in force, verified, and kept only if somebody says so.

use std::{
    env,
    io::{BufRead, IsTerminal, Write as _},
    os::fd::AsFd,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Desk, Failure, Method, Status, Terms, failed, keep, list, report, table};
use crate::{
    firewall::{
        State,
        boot::{self, Restore},
        cgroup::LESS,
        flows::{self, Ended},
        guard, lasts, moment, new_id,
        operator::Operator,
        rule::{ALLOW_MOST, Cidr, Rule, Scope, Way},
        until,
    },
    format::text::escape,
};

/// Longest reason, characters.
const REASON_MOST: usize = 500;

/// Makes it.
pub(super) fn make(desk: &mut Desk, scope: Scope, allow: &[Cidr], terms: &Terms) -> Result<(), Failure> {
    let lock = desk.ledger.lock().map_err(|error| failed("locking the records of rules", error))?;
    let Wanted { mut rule, operator, instead } = rule(desk, scope, allow, terms)?;
    if let Some(why) = &instead {
        say!("not by nftables, but by a program at the root of the cgroups: {why}");
    }
    if terms.dry_run {
        return plan(desk, &rule, terms);
    }
    keep::clear_up(desk)?;
    if let Some(mut same) = desk.known()?.rules.into_iter().find(|known| known.is_like(&rule)) {
        let (present, _) = desk.firewall.present(&desk.host);
        if present.iter().any(|(id, _, live)| *id == same.id && *live) {
            prolong(desk, &mut same, terms)?;
            desk.parts.extend(instead.map(|_| format!("keeping out {LESS}")));
            drop(lock);
            return already(desk, &same, terms);
        }
        // Somebody took it out of the kernel, or the host was started anew.
        say!("rule {} was on record and not in force: it is put in force", same.id);
        keep::take_out(desk, &same.id, same.way)?;
        rule.id = same.id;
    }
    put_in_force(desk, &mut rule, terms)?;
    let ended = flows::end(&rule, &desk.reader);
    persist(desk, &rule);
    let sentence = sentence(&rule, &ended, &operator);
    desk.tell(report::method(scope), &rule, ended.parts.is_empty() && desk.parts.is_empty(), &sentence);
    desk.parts.extend(ended.parts);
    desk.parts.extend(instead.map(|_| format!("keeping out {LESS}")));
    drop(lock);
    show(desk, &rule, state(&rule), terms)?;
    say!("{sentence}");
    if !terms.yes {
        ask(desk, &rule, terms)?;
    }
    desk.rest()
}

/// What was asked for.
struct Wanted {
    rule: Rule,
    operator: Operator,
    /// Why it can't be by nftables.
    instead: Option<String>,
}

/// The rule that was asked for, unless it would shut the operator out.
fn rule(desk: &Desk, scope: Scope, allow: &[Cidr], terms: &Terms) -> Result<Wanted, Failure> {
    if allow.len() > ALLOW_MOST {
        return Err(Failure::new(Status::Usage, format!("a rule has room for {ALLOW_MOST} ranges")));
    }
    if terms.reason.as_ref().is_some_and(|reason| reason.chars().count() > REASON_MOST) {
        return Err(Failure::new(Status::Usage, format!("a reason has at most {REASON_MOST} characters")));
    }
    let sockets =
        flows::sockets(&desk.reader).map_err(|error| failed("listing this host's connections", error))?;
    let hint = env::var("SSH_CONNECTION").ok();
    let operator = Operator::find(&desk.reader, &sockets, hint.as_deref());
    let mut allow = allow.to_vec();
    allow.sort_unstable();
    allow.dedup();
    let concerned = |local: u16| match scope {
        Scope::Close(port) => port.is(6, local),
        Scope::Isolate => true,
    };
    let kept = operator.connections.iter().filter(|kept| concerned(kept.local.port())).copied().collect();
    let mut rule = Rule {
        id: new_id().map_err(|error| failed("making an id", error))?,
        scope,
        allow,
        kept,
        reason: terms.reason.clone(),
        made: desk.host.now().0,
        netns: desk.firewall.netns,
        boot: desk.host.boot_id.clone(),
        way: Way::Nftables,
        applied: false,
        confirm_by: None,
        until: None,
        persist: terms.persist,
        guard: None,
    };
    let out = |rule: &Rule| {
        let left_out = |remote: &std::net::IpAddr| {
            !remote.is_loopback() && !rule.allow.iter().any(|range| range.contains(*remote))
        };
        operator.connections.iter().map(|kept| kept.remote.ip()).find(left_out)
    };
    match out(&rule).filter(|_| scope == Scope::Isolate && !operator.at_console) {
        Some(remote) => {
            let what = format!(
                "you come from {remote}, which isn't allowed, and couldn't come again: add --allow {remote}"
            );
            Err(Failure::new(Status::Usage, what))
        }
        None => {
            let (way, why) = desk.firewall.way(&rule).map_err(|why| Failure::new(Status::Failed, why))?;
            rule.way = way;
            Ok(Wanted { rule, operator, instead: why })
        }
    }
}

/// Shows what would be done.
fn plan(desk: &Desk, rule: &Rule, terms: &Terms) -> Result<(), Failure> {
    let sockets =
        flows::sockets(&desk.reader).map_err(|error| failed("listing this host's connections", error))?;
    show(desk, rule, "planned", terms)?;
    let forbidden = flows::forbidden(rule, &sockets).len();
    say!("nothing was done; it would end {forbidden} connections of this host");
    Ok(())
}

/// Has a rule that is there last as long as is asked for this time, if that is longer.
fn prolong(desk: &mut Desk, same: &mut Rule, terms: &Terms) -> Result<(), Failure> {
    let (Some(lasts), Some(end)) = (terms.lasts, &same.until) else { return Ok(()) };
    if until(end, &desk.host) >= lasts || terms.persist != same.persist {
        return Ok(());
    }
    same.until = Some(moment(&desk.host, lasts));
    desk.firewall.prolong(same, &desk.host).map_err(|why| failed("having the rule last longer", why))?;
    desk.ledger.put(same).map_err(|error| {
        failed("writing the record of the rule, which ends when it was to end before", error)
    })?;
    desk.tell(Method::PortConfirm, same, true, "the rule lasts longer");
    Ok(())
}

/// There is such a rule: it is shown, and not made again. What it waits for, it is told.
fn already(desk: &mut Desk, same: &Rule, terms: &Terms) -> Result<(), Failure> {
    let (present, _) = desk.firewall.present(&desk.host);
    show(desk, same, desk.firewall.state(same, &present, &desk.host).word(), terms)?;
    let id = &same.id;
    let differs = terms.persist != same.persist || terms.lasts.is_some() != same.until.is_some();
    if differs {
        let what = format!(
            "rule {id} is the same but for --for or --persist, and stays as it is: `sensor port undo {id}` first"
        );
        return Err(Failure::new(Status::Failed, what));
    }
    say!("there is such a rule already, {id}");
    match (same.confirm_by.is_some(), terms.yes) {
        (false, _) => desk.rest(),
        (true, true) => keep::confirm(desk, id),
        (true, false) => {
            ask(desk, same, terms)?;
            desk.rest()
        }
    }
}

/// The record first, then its guard, then the rule itself: whatever ends this process leaves nothing that nobody ends.
fn put_in_force(desk: &mut Desk, rule: &mut Rule, terms: &Terms) -> Result<(), Failure> {
    rule.confirm_by = (!terms.yes).then(|| moment(&desk.host, terms.confirm_within));
    rule.until = terms.lasts.map(|lasts| moment(&desk.host, lasts));
    let put = |desk: &Desk, rule: &Rule| {
        desk.ledger
            .put(rule)
            .map_err(|error| failed("writing the record of the rule, so it isn't in force", error))
    };
    put(desk, rule)?;
    let done = guarded(desk, rule).and_then(|()| {
        put(desk, rule)?;
        // There is no other way behind the second.
        let status = if rule.way == Way::Cgroup { Status::NotPermitted } else { Status::Failed };
        desk.firewall.apply(rule, &desk.host).map_err(|why| Failure::new(status, why))?;
        rule.applied = true;
        put(desk, rule)
    });
    done.map_err(|failure| {
        let undone = desk.firewall.undo(&rule.id, rule.way);
        let struck = desk.ledger.remove(&rule.id).map_err(|error| error.to_string());
        let left = undone
            .and(struck)
            .err()
            .map(|why| format!("; taking it back failed too: {why}"))
            .unwrap_or_default();
        let sentence = format!("the rule isn't in force: {failure}{left}");
        desk.tell(report::method(rule.scope), rule, false, &sentence);
        Failure::new(failure.status, sentence)
    })
}

/// With somebody who ends it in time, where it has an end.
pub(super) fn guarded(desk: &Desk, rule: &mut Rule) -> Result<(), Failure> {
    if rule.end().is_some() {
        let started = guard::start(&rule.id, &desk.ledger, &desk.reader);
        rule.guard = Some(started.map_err(|error| failed("starting what ends the rule in time", error))?);
    }
    Ok(())
}

/// Has it come back at the next boot, when that was asked for and is sure.
pub(super) fn persist(desk: &mut Desk, rule: &Rule) {
    if !rule.persist || rule.confirm_by.is_some() {
        return;
    }
    match boot::enable(desk.host.root()) {
        Ok(Restore::Unit(_)) => {}
        Ok(Restore::Nobody) => desk.parts.push(
            "having the rule come back at the next boot: there is no systemd; run `sensor port restore` at its start, before the network".to_owned(),
        ),
        Err(error) => desk.parts.push(format!("writing the unit that brings the rule back at the next boot: {error}")),
    }
}

fn state(rule: &Rule) -> &'static str {
    if rule.confirm_by.is_some() { State::Unconfirmed.word() } else { State::InForce.word() }
}

fn sentence(rule: &Rule, ended: &Ended, operator: &Operator) -> String {
    let mut sentence = format!(
        "rule {} is in force by {}; ended {} connections here, {} that the filter knew",
        rule.id,
        rule.way.word(),
        ended.sockets,
        ended.flows
    );
    let kept: Vec<String> = rule.kept.iter().map(report::connection).collect();
    if !kept.is_empty() {
        sentence.push_str(&format!("; kept your own: {}", kept.join(", ")));
    } else if rule.scope == Scope::Isolate && operator.connections.is_empty() && !operator.at_console {
        sentence.push_str("; by which connection you came isn't known, so none is kept");
    }
    sentence
}

fn show(desk: &Desk, rule: &Rule, state: &'static str, terms: &Terms) -> Result<(), Failure> {
    let row = report::Row::of(rule, state, &desk.host);
    list(terms.format, [row.record()], || table(&report::heads(), &[row.line()]))
}

/// Asks whether it is to be kept, where somebody can answer; else says how to.
fn ask(desk: &mut Desk, rule: &Rule, terms: &Terms) -> Result<(), Failure> {
    let left = lasts(rule, &desk.host).unwrap_or(terms.confirm_within);
    let id = &rule.id;
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        say!("undone by itself in {} s, unless you say `sensor port confirm {id}`", left.as_secs());
        return Ok(());
    }
    let question = format!("sensor: keep it? It is undone by itself in {} s [y/N] ", left.as_secs());
    let _: std::io::Result<()> = std::io::stderr().write_all(question.as_bytes());
    let stdin = std::io::stdin();
    let mut waits = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    let mut answer = String::new();
    if matches!(poll(&mut waits, timeout), Ok(1..)) {
        stdin.lock().read_line(&mut answer).map_err(|error| failed("reading the answer", error))?;
    }
    match answer.trim() {
        "y" | "Y" | "yes" => keep::confirm(desk, id),
        // Its guard may have been first.
        "" if matches!(desk.ledger.get(id), Ok(None)) => {
            say!("rule {id} was undone by itself");
            Ok(())
        }
        "" | "n" | "N" | "no" => keep::undo(desk, id),
        other => {
            say!("{} is neither y nor n, and so no", escape(other.as_bytes()));
            keep::undo(desk, id)
        }
    }
}
