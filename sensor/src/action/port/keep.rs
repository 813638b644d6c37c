//! What becomes of a rule that is there: confirmed, taken back, ended in time, brought back after a boot.

use super::{Desk, Failure, Method, Status, Way, failed, make, report};
use crate::firewall::{
    boot,
    cgroup::LESS,
    guard, is_over,
    rule::{Id, Rule},
};

/// Takes a rule back.
pub(super) fn undo(desk: &mut Desk, id: &Id) -> Result<(), Failure> {
    let _lock = desk.ledger.lock().map_err(|error| failed("locking the records of rules", error))?;
    let known = desk.ledger.get(id);
    let (present, _) = desk.firewall.present(&desk.host);
    let there = present.iter().find(|(there, ..)| there == id).map(|(_, way, _)| *way);
    let rule = match (&known, there) {
        (Ok(None), None) => {
            return Err(failed(
                "taking a rule back",
                format!("there is no rule {id}: see `sensor port list`"),
            ));
        }
        (Ok(Some(rule)), None) if elsewhere(desk, rule) => {
            let what =
                format!("rule {id} is of network namespace {}: run this there (nsenter --net)", rule.netns);
            return Err(Failure::new(Status::Failed, what));
        }
        (Ok(Some(rule)), _) => Some(rule.clone()),
        _ => None,
    };
    let way = there.or(rule.as_ref().map(|rule| rule.way)).unwrap_or(Way::Nftables);
    take_out(desk, id, way)?;
    match rule {
        Some(rule) => desk.tell(Method::PortUndo, &rule, true, "the rule was taken back"),
        None => say!("rule {id}, of which there was no record that can be read, was taken back"),
    }
    say!("rule {id} is undone");
    Ok(())
}

/// Out of the kernel, then off the record.
pub(super) fn take_out(desk: &Desk, id: &Id, way: Way) -> Result<(), Failure> {
    desk.firewall
        .undo(id, way)
        .map_err(|why| failed(&format!("taking back the rule {id}, which may be in force"), why))?;
    desk.ledger
        .remove(id)
        .map_err(|error| failed(&format!("rule {id} is undone; striking its record"), error))?;
    if !desk.known()?.rules.iter().any(|rule| rule.persist) {
        boot::disable(desk.host.root())
            .map_err(|error| failed("removing the unit for the next boot", error))?;
    }
    Ok(())
}

fn elsewhere(desk: &Desk, rule: &Rule) -> bool {
    rule.boot == desk.host.boot_id && rule.netns != desk.firewall.netns
}

/// Keeps a rule.
pub(super) fn confirm(desk: &mut Desk, id: &Id) -> Result<(), Failure> {
    let _lock = desk.ledger.lock().map_err(|error| failed("locking the records of rules", error))?;
    let rule = desk.ledger.get(id).map_err(|why| failed("reading the record of the rule", why))?;
    let Some(mut rule) = rule else {
        return Err(failed(
            "confirming",
            format!("there is no rule {id}: it was taken back, maybe by itself"),
        ));
    };
    if rule.confirm_by.is_none() {
        say!("rule {id} is confirmed already");
        return Ok(());
    }
    if elsewhere(desk, &rule) || is_over(&rule, &desk.host) {
        return Err(failed("confirming", format!("rule {id} is over, or of another network namespace")));
    }
    rule.confirm_by = None;
    desk.firewall.prolong(&rule, &desk.host).map_err(|why| failed("confirming", why))?;
    desk.ledger
        .put(&rule)
        .map_err(|error| failed("writing the record of the rule, which ends by itself", error))?;
    make::persist(desk, &rule);
    desk.tell(Method::PortConfirm, &rule, true, "the rule stays");
    say!("rule {id} stays");
    desk.rest()
}

/// Ends what is over and was left behind: its guard was killed, or the host was off meanwhile; and strikes what was
/// written down and never done.
pub(super) fn clear_up(desk: &mut Desk) -> Result<(), Failure> {
    let (present, _) = desk.firewall.present(&desk.host);
    for rule in desk.known()?.rules {
        let there = present.iter().any(|(id, ..)| *id == rule.id);
        // Who makes a rule holds the lock until it is in force.
        let abandoned = !rule.applied && !there;
        if elsewhere(desk, &rule) || !(abandoned || is_over(&rule, &desk.host)) {
            continue;
        }
        // One that can't be cleared up is no reason to leave a port open.
        if let Err(failure) = take_out(desk, &rule.id, rule.way) {
            desk.parts.push(format!("clearing up: {failure}"));
            continue;
        }
        let sentence = match abandoned {
            true => "it was written down and never put in force",
            false => "its time was over, and its guard gone",
        };
        desk.tell(Method::PortExpire, &rule, true, sentence);
    }
    Ok(())
}

/// The guard of a rule.
pub(super) fn guard(desk: &mut Desk, id: &Id) -> Result<(), Failure> {
    guard::leave().map_err(|error| failed("leaving the session", error))?;
    if !guard::wait(id, &desk.ledger, &desk.host) {
        return Ok(());
    }
    let _lock = desk.ledger.lock().map_err(|error| failed("locking the records of rules", error))?;
    let rule = desk.ledger.get(id).map_err(|why| failed("reading the record of the rule", why))?;
    // Who held the lock before may have confirmed it.
    let Some(rule) = rule.filter(|rule| is_over(rule, &desk.host)) else { return Ok(()) };
    let done = take_out(desk, id, rule.way);
    let sentence = match (&done, rule.confirm_by.is_some()) {
        (Err(failure), _) => format!("the kernel ended it, and clearing up failed: {failure}"),
        (Ok(()), true) => "nobody confirmed it in time, and it was undone".to_owned(),
        (Ok(()), false) => "its time was over, and it was undone".to_owned(),
    };
    desk.tell(Method::PortExpire, &rule, done.is_ok(), &sentence);
    done
}

/// Puts in force what is to be there after a boot.
pub(super) fn restore(desk: &mut Desk) -> Result<(), Failure> {
    let _lock = desk.ledger.lock().map_err(|error| failed("locking the records of rules", error))?;
    clear_up(desk)?;
    let (present, parts) = desk.firewall.present(&desk.host);
    desk.parts.extend(parts);
    let known = desk.known()?;
    desk.parts.extend(known.broken);
    for mut rule in known.rules.into_iter().filter(|rule| rule.persist && rule.confirm_by.is_none()) {
        if present.iter().any(|(id, _, live)| *id == rule.id && *live) || elsewhere(desk, &rule) {
            continue;
        }
        match bring_back(desk, &mut rule) {
            Ok(()) => {
                desk.tell(report::method(rule.scope), &rule, true, "the rule was put in force again");
                if rule.way == Way::Cgroup {
                    desk.parts.push(format!("keeping out {LESS}"));
                }
            }
            Err(why) => {
                desk.parts.push(format!("{} (rule {}): {why}", report::target(rule.scope), rule.id));
                desk.tell(
                    report::method(rule.scope),
                    &rule,
                    false,
                    "the rule could not be put in force again",
                );
            }
        }
    }
    desk.rest()
}

fn bring_back(desk: &Desk, rule: &mut Rule) -> Result<(), String> {
    let host = &desk.host;
    // Nobody's connection outlives a boot.
    rule.kept.clear();
    (rule.netns, rule.boot) = (desk.firewall.netns, host.boot_id.clone());
    rule.way = desk.firewall.way(rule)?.0;
    make::guarded(desk, rule).map_err(|failure| failure.to_string())?;
    desk.firewall.undo(&rule.id, rule.way)?;
    desk.firewall.apply(rule, host)?;
    desk.ledger.put(rule).map_err(|error| error.to_string())?;
    Ok(())
}
