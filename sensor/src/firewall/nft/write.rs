//! A rule as commands for nft (`libnftables-json(5)`).
//!
//! Each rule has chains of its own, to which the base chains jump, and a set, `live`, that decides whether it is in
//! force: its elements have the rule's time, so that the kernel itself ends a rule, whoever else is gone.

#![expect(
    clippy::needless_pass_by_value,
    reason = "what makes JSON borrows all it is given, and rules read better when made of values"
)]

use std::time::Duration;

use serde_json::{Value, json};

use super::{MARK, TABLE, mark};
use crate::firewall::rule::{Cidr, Connection, Id, Rule, Scope};

/// Before all that translate addresses, after connections are known (`NF_IP_PRI_CONNTRACK`, -200): so what arrives has the
/// port and address that the other side meant.
const PRIORITY: i32 = -199;
/// The base chains, by their hooks.
pub(super) const HOOKS: [&str; 4] = ["prerouting", "input", "forward", "output"];
/// The chain that says whose the table is.
pub(super) const ABOUT: &str = "about";
/// By what an IPv6 host finds its neighbours and keeps being found (RFC 4861, RFC 4890).
const NEIGHBOURS: [&str; 5] = [
    "nd-neighbor-solicit",
    "nd-neighbor-advert",
    "nd-router-advert",
    "nd-router-solicit",
    "mld-listener-query",
];

/// A chain of a rule.
pub(super) struct Chain {
    pub(super) name: String,
    hook: &'static str,
    /// What leads into it, one for each jump.
    heads: Vec<Vec<Value>>,
    pub(super) rules: Vec<Value>,
}

/// The commands that put a rule in force for so long; `first`: there is no table yet.
pub(super) fn make(rule: &Rule, first: bool, lasts: Option<Duration>) -> Vec<Value> {
    let mut all = vec![json!({"add": {"table": {"family": "inet", "name": TABLE}}})];
    if first {
        all.push(json!({"add": {"chain": place(ABOUT)}}));
        all.push(add_rule(ABOUT, json!([{"counter": null}]), MARK));
    }
    for hook in HOOKS {
        let base = json!({
            "family": "inet", "table": TABLE, "name": hook,
            "type": "filter", "hook": hook, "prio": PRIORITY, "policy": "accept",
        });
        all.push(json!({"add": {"chain": base}}));
    }
    let set = json!({
        "family": "inet", "table": TABLE, "name": live(&rule.id), "type": "nf_proto", "flags": ["timeout"],
    });
    all.push(json!({"add": {"set": set}}));
    all.push(elements(&rule.id, lasts));
    for chain in chains(rule) {
        all.push(json!({"add": {"chain": place(&chain.name)}}));
        all.extend(chain.rules.into_iter().map(|body| add_rule(&chain.name, body, &mark(&rule.id))));
        for mut head in chain.heads {
            head.push(json!({"jump": {"target": chain.name}}));
            all.push(add_rule(chain.hook, Value::Array(head), &mark(&rule.id)));
        }
    }
    all
}

/// The commands that give a rule another time.
pub(super) fn prolong(id: &Id, lasts: Option<Duration>) -> Vec<Value> {
    let set = json!({"family": "inet", "table": TABLE, "name": live(id)});
    vec![json!({"flush": {"set": set}}), elements(id, lasts)]
}

fn elements(id: &Id, lasts: Option<Duration>) -> Value {
    let element = |family: &str| match lasts {
        // A part of a second counts as a whole one: the guard comes first.
        Some(lasts) => json!({"elem": {"val": family, "timeout": lasts.as_secs().saturating_add(1)}}),
        None => json!(family),
    };
    let both = [element("ipv4"), element("ipv6")];
    json!({"add": {"element": {"family": "inet", "table": TABLE, "name": live(id), "elem": both}}})
}

/// The set that decides whether a rule is in force.
pub(super) fn live(id: &Id) -> String {
    format!("live_{id}")
}

pub(super) fn place(chain: &str) -> Value {
    json!({"family": "inet", "table": TABLE, "name": chain})
}

fn add_rule(chain: &str, body: Value, comment: &str) -> Value {
    json!({"add": {"rule": {"family": "inet", "table": TABLE, "chain": chain, "expr": body, "comment": comment}}})
}

/// The chains of a rule, and what stands in them.
pub(super) fn chains(rule: &Rule) -> Vec<Chain> {
    let chain = |hook: &'static str, short: &str, heads, bodies: Vec<Vec<Value>>| {
        let over = vec![is_not(json!({"meta": {"key": "nfproto"}}), json!(format!("@{}", live(&rule.id))))];
        let passes = std::iter::once(over).chain(bodies).map(|mut body| {
            body.push(json!({"return": null}));
            Value::Array(body)
        });
        let drop = json!([{"counter": null}, {"drop": null}]);
        let rules = passes.chain([drop]).collect();
        Chain { name: format!("rule_{}{short}", rule.id), hook, heads, rules }
    };
    match rule.scope {
        Scope::Close(port) => {
            let heads = port.transports().iter().map(|transport| {
                // Whatever isn't on its way to another host is for this one, also what is translated behind us.
                let here = is_not(json!({"fib": {"result": "type", "flags": ["daddr"]}}), json!("unicast"));
                vec![is(payload(transport.word(), "dport"), json!(port.number)), here]
            });
            let reply = vec![is(json!({"ct": {"key": "direction"}}), json!("reply"))];
            let mut bodies = vec![reply, interface("iifname")];
            bodies.extend(addresses(&rule.allow, "saddr"));
            bodies.extend(rule.kept.iter().map(incoming));
            vec![chain("prerouting", "", heads.collect(), bodies)]
        }
        Scope::Isolate => {
            let all = || vec![Vec::new()];
            vec![
                chain("input", "_in", all(), arriving(rule)),
                chain("forward", "_fwd", all(), passing(rule)),
                chain("output", "_out", all(), leaving(rule)),
            ]
        }
    }
}

fn arriving(rule: &Rule) -> Vec<Vec<Value>> {
    let mut bodies = vec![interface("iifname")];
    bodies.extend(addresses(&rule.allow, "saddr"));
    bodies.extend(rule.kept.iter().map(incoming));
    bodies.extend(neighbours());
    bodies.extend(too_big());
    bodies.push(ports("udp", 67, 68));
    let mut six = vec![range("saddr", &Cidr { first: [0xfe80, 0, 0, 0, 0, 0, 0, 0].into(), bits: 10 })];
    six.extend(ports("udp", 547, 546));
    bodies.push(six);
    bodies
}

fn leaving(rule: &Rule) -> Vec<Vec<Value>> {
    let mut bodies = vec![interface("oifname")];
    bodies.extend(addresses(&rule.allow, "daddr"));
    bodies.extend(rule.kept.iter().map(outgoing));
    bodies.extend(neighbours());
    // To all on the link alone: what goes to one address could go to anybody.
    let servers: [(std::net::IpAddr, u16, u16); 2] =
        [([255; 4].into(), 68, 67), ([0xff02, 0, 0, 0, 0, 0, 1, 2].into(), 546, 547)];
    for (address, from, to) in servers {
        let mut body = vec![range("daddr", &Cidr::host(address))];
        body.extend(ports("udp", from, to));
        bodies.push(body);
    }
    bodies
}

fn passing(rule: &Rule) -> Vec<Vec<Value>> {
    let mut bodies: Vec<_> = addresses(&rule.allow, "saddr").chain(addresses(&rule.allow, "daddr")).collect();
    bodies.extend(too_big());
    bodies
}

/// What routers say of packets that are too large, of connections that are known.
fn too_big() -> impl Iterator<Item = Vec<Value>> {
    [("icmp", "destination-unreachable"), ("icmpv6", "packet-too-big")].into_iter().map(|(protocol, kind)| {
        let related = json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "related"}});
        vec![is(payload(protocol, "type"), json!(kind)), related]
    })
}

fn neighbours() -> impl Iterator<Item = Vec<Value>> {
    NEIGHBOURS.into_iter().map(|kind| vec![is(payload("icmpv6", "type"), json!(kind))])
}

fn addresses<'a>(ranges: &'a [Cidr], side: &'a str) -> impl Iterator<Item = Vec<Value>> + 'a {
    ranges.iter().map(move |one| vec![range(side, one)])
}

fn incoming(kept: &Connection) -> Vec<Value> {
    tuple(kept, ["saddr", "sport"], ["daddr", "dport"])
}

fn outgoing(kept: &Connection) -> Vec<Value> {
    tuple(kept, ["daddr", "dport"], ["saddr", "sport"])
}

/// A connection of TCP, with what the packets call its other end and this one.
fn tuple(kept: &Connection, other: [&str; 2], own: [&str; 2]) -> Vec<Value> {
    let ends = [(kept.remote, other), (kept.local, own)];
    let addresses = ends.iter().map(|(end, [address, _])| range(address, &Cidr::host(end.ip())));
    let ports = ends.iter().map(|(end, [_, port])| is(payload("tcp", port), json!(end.port())));
    addresses.chain(ports).collect()
}

fn ports(transport: &str, from: u16, to: u16) -> Vec<Value> {
    vec![is(payload(transport, "sport"), json!(from)), is(payload(transport, "dport"), json!(to))]
}

fn range(side: &str, range: &Cidr) -> Value {
    let protocol = if range.first.is_ipv4() { "ip" } else { "ip6" };
    let value = match range.is_host() {
        true => json!(range.first),
        false => json!({"prefix": {"addr": range.first, "len": range.bits}}),
    };
    // Of a range of all only the family is left, which nft would leave out.
    match range.bits {
        0 => is(
            json!({"meta": {"key": "nfproto"}}),
            json!(if range.first.is_ipv4() { "ipv4" } else { "ipv6" }),
        ),
        _ => is(payload(protocol, side), value),
    }
}

fn interface(side: &str) -> Vec<Value> {
    vec![is(json!({"meta": {"key": side}}), json!("lo"))]
}

fn payload(protocol: &str, field: &str) -> Value {
    json!({"payload": {"protocol": protocol, "field": field}})
}

fn is(left: Value, right: Value) -> Value {
    json!({"match": {"op": "==", "left": left, "right": right}})
}

fn is_not(left: Value, right: Value) -> Value {
    json!({"match": {"op": "!=", "left": left, "right": right}})
}
