//! The sensor's table as nft lists it: what of it is whose, and whether a rule stands there as it was meant.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    MARK, TABLE, mark,
    write::{self, ABOUT, HOOKS},
};
use crate::firewall::rule::{Id, Rule};

/// The table.
#[derive(Debug, Default)]
pub(in crate::firewall) struct Table {
    /// What stands in each chain, in order.
    chains: BTreeMap<String, Vec<Listed>>,
    /// The sets, and whether anything is in each.
    sets: BTreeMap<String, bool>,
}

/// A rule of a chain.
#[derive(Debug)]
struct Listed {
    handle: u64,
    comment: String,
    body: Value,
}

impl Table {
    /// Of a listing; nothing else than what is told of this table is in it.
    pub(super) fn of(listing: &Value) -> Self {
        let mut table = Self::default();
        for told in listing["nftables"].as_array().into_iter().flatten() {
            let text = |object: &Value, key: &str| object[key].as_str().unwrap_or_default().to_owned();
            if let Some(chain) = told.get("chain") {
                table.chains.entry(text(chain, "name")).or_default();
            } else if let Some(set) = told.get("set") {
                let any = set["elem"].as_array().is_some_and(|elements| !elements.is_empty());
                table.sets.insert(text(set, "name"), any);
            } else if let Some(rule) = told.get("rule") {
                let listed = Listed {
                    handle: rule["handle"].as_u64().unwrap_or(0),
                    comment: text(rule, "comment"),
                    body: rule["expr"].clone(),
                };
                table.chains.entry(text(rule, "chain")).or_default().push(listed);
            }
        }
        table
    }

    /// Whether the sensor made it.
    pub(super) fn is_ours(&self) -> bool {
        let about = self.chains.get(ABOUT);
        about.is_some_and(|rules| rules.iter().any(|rule| rule.comment == MARK))
    }

    /// The rules that have a chain, and whether the kernel still applies each.
    pub(in crate::firewall) fn rules(&self) -> BTreeMap<Id, bool> {
        let mut found = BTreeMap::new();
        for name in self.chains.keys() {
            let id = name.strip_prefix("rule_").and_then(|rest| rest.split('_').next()?.parse::<Id>().ok());
            if let Some(id) = id {
                let jumped_to = HOOKS.iter().any(|hook| self.jumps(hook, &id).next().is_some());
                let live = self.sets.get(&write::live(&id)).copied().unwrap_or(false);
                found.insert(id, jumped_to && live);
            }
        }
        found
    }

    fn jumps<'a>(&'a self, hook: &str, id: &Id) -> impl Iterator<Item = &'a Listed> {
        let comment = mark(id);
        self.chains.get(hook).into_iter().flatten().filter(move |rule| rule.comment == comment)
    }

    /// The commands that take a rule out, and the table with the last.
    pub(super) fn without(&self, id: &Id) -> Vec<Value> {
        let mut others = self.rules();
        others.remove(id);
        if others.is_empty() {
            return vec![json!({"delete": {"table": {"family": "inet", "name": TABLE}}})];
        }
        let mut all = Vec::new();
        for hook in HOOKS {
            for rule in self.jumps(hook, id) {
                let place = json!({"family": "inet", "table": TABLE, "chain": hook, "handle": rule.handle});
                all.push(json!({"delete": {"rule": place}}));
            }
        }
        let name = format!("rule_{id}");
        let own = |chain: &&String| {
            chain.strip_prefix(&name).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        };
        for chain in self.chains.keys().filter(own) {
            all.push(json!({"flush": {"chain": write::place(chain)}}));
            all.push(json!({"delete": {"chain": write::place(chain)}}));
        }
        let live = write::live(id);
        if self.sets.contains_key(&live) {
            all.push(json!({"delete": {"set": write::place(&live)}}));
        }
        all
    }

    /// Whether a rule stands there as it was meant, and packets come to it; else what is amiss.
    pub(super) fn verify(&self, rule: &Rule) -> Result<(), String> {
        if !self.rules().get(&rule.id).copied().unwrap_or(false) {
            return Err("no packet comes to its chain".to_owned());
        }
        for chain in write::chains(rule) {
            let listed = self.chains.get(&chain.name).map(Vec::as_slice).unwrap_or_default();
            if listed.len() != chain.rules.len() {
                return Err(format!(
                    "chain {} has {} rules in place of {}",
                    chain.name,
                    listed.len(),
                    chain.rules.len()
                ));
            }
            // Versions of nft write one and the same in several ways: the words and numbers of each rule must be there.
            let same = |(meant, found): (&Value, &Listed)| {
                let (mut words, mut there) = (BTreeSet::new(), BTreeSet::new());
                leaves(meant, &mut words);
                leaves(&found.body, &mut there);
                words.is_subset(&there) && verdict(meant) == verdict(&found.body)
            };
            if let Some(at) = chain.rules.iter().zip(listed).position(|pair| !same(pair)) {
                return Err(format!("rule {at} of chain {} isn't what was asked for", chain.name));
            }
        }
        Ok(())
    }
}

/// What a rule does in the end.
fn verdict(body: &Value) -> Option<String> {
    body.as_array()?.last()?.as_object()?.keys().next().cloned()
}

/// The words and numbers that are compared with, and what is compared.
fn leaves(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            members.iter().filter(|(name, _)| *name != "op").for_each(|(_, value)| leaves(value, into));
        }
        Value::Array(elements) => elements.iter().for_each(|element| leaves(element, into)),
        Value::String(text) => drop(into.insert(text.clone())),
        Value::Number(number) => drop(into.insert(number.to_string())),
        Value::Null | Value::Bool(_) => {}
    }
}
