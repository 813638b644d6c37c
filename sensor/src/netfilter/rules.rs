//! Chains and rules as nf_tables tells them (`include/uapi/linux/netfilter/nf_tables.h`): bytes to meaning.

use std::collections::{HashMap, HashSet};

use super::MOST;
use super::sets::{Name, Sets};
use crate::netlink::message::{Malformed, attribute, attributes, be32_at};

/// `NFTA_CHAIN_TABLE`, `…_NAME`, `…_HOOK`, `…_POLICY`, `…_TYPE`.
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
/// `NFTA_HOOK_HOOKNUM`.
const HOOK_NUMBER: u16 = 1;
/// `NFTA_RULE_TABLE`, `…_CHAIN`, `…_EXPRESSIONS`; `NFTA_EXPR_NAME`, `…_DATA`.
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
/// `NFTA_LOOKUP_SET`, `…_SREG`, `…_DREG`, `…_FLAGS`; `NFT_LOOKUP_F_INV`.
const LOOKUP_SET: u16 = 1;
const LOOKUP_FROM: u16 = 2;
const LOOKUP_TO: u16 = 3;
const LOOKUP_FLAGS: u16 = 5;
const INVERTED: u32 = 1;
/// `NFT_FIB_RESULT_ADDRTYPE`, `NFTA_FIB_F_DADDR`.
const ADDRESS_TYPE: u32 = 3;
const OF_DESTINATION: u32 = 2;
/// `NFTA_DATA_VALUE`, `NFTA_DATA_VERDICT`; `NFTA_VERDICT_CODE`, `NFTA_VERDICT_CHAIN`.
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
/// Codes of verdicts.
const NF_DROP: i32 = 0;
const NF_ACCEPT: i32 = 1;
const CONTINUE: i32 = -1;
const BREAK: i32 = -2;
const JUMP: i32 = -3;
const GOTO: i32 = -4;
const RETURN: i32 = -5;
/// Most sets that are read.
const SETS_MOST: usize = 1024;
/// `NFT_REG_VERDICT`.
const VERDICT_REGISTER: u32 = 0;

/// A chain, by family, table and name.
pub(super) type Place = (u8, Vec<u8>, Vec<u8>);

/// A chain.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    /// Of one that packets come to by themselves: at which hook.
    pub(super) hook: Option<u32>,
    /// It drops what no rule decides.
    pub(super) drops: bool,
    /// It translates addresses.
    pub(super) nat: bool,
    pub(super) rules: Vec<Vec<Expression>>,
}

/// What a rule does, one step after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    /// Loads something that is known of a packet.
    Load { what: What, register: u32 },
    /// Goes on only if a register compares so (`NFT_CMP_EQ` and following).
    Compare { register: u32, how: u32, value: Vec<u8> },
    /// Goes on only if it lies, or doesn't lie, between these.
    Range { register: u32, inside: bool, from: Vec<u8>, to: Vec<u8> },
    /// Goes on only if a register is in a set, or isn't (`inverted`); a map of verdicts (`decides`) also says what becomes.
    Lookup { register: u32, set: Vec<u8>, inverted: bool, decides: bool },
    /// Keeps some bits, and turns some.
    Bits { from: u32, to: u32, mask: Vec<u8>, turn: Vec<u8> },
    /// Decides.
    Decide(Decision),
    /// Changes nothing here: it counts, it logs.
    Pass,
    /// Not understood: it may go on or not.
    Unknown,
    /// Not understood: it may also decide.
    Undecided,
}

/// What is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    NetworkProtocol,
    TransportProtocol,
    InterfaceName,
    InterfaceIndex,
    DestinationPort,
    ConnectionState,
    /// Whether it goes the way in which the connection was begun.
    Direction,
    /// Whose address it is for.
    DestinationType,
    /// Not known here.
    Else,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Accept,
    Drop,
    Continue,
    Break,
    Return,
    Jump(Vec<u8>),
    Goto(Vec<u8>),
    /// Another program decides.
    Else,
}

/// All chains.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) chains: HashMap<Place, Chain>,
    pub(super) sets: Sets,
    count: usize,
    /// Something of it isn't known.
    pub(super) broken: bool,
}

impl Rules {
    /// Of which nothing is known but that they are there.
    pub(super) fn unreadable() -> Self {
        Self { broken: true, ..Self::default() }
    }

    pub(super) fn add_chain(&mut self, body: &[u8]) {
        match chain(body) {
            Ok(Some((place, chain))) if self.has_room() => {
                let rules = self.chains.remove(&place).unwrap_or_default().rules;
                self.chains.insert(place, Chain { rules, ..chain });
            }
            _ => self.broken = true,
        }
    }

    pub(super) fn add_rule(&mut self, body: &[u8]) {
        match rule(body) {
            Ok(Some((place, rule))) if self.has_room() => {
                self.chains.entry(place).or_default().rules.push(rule);
            }
            _ => self.broken = true,
        }
    }

    /// The sets in which rules look something up that can be known.
    pub(super) fn wanted(&self) -> HashSet<Name> {
        let of_chain = |(place, chain): (&Place, &Chain)| {
            let names = chain.rules.iter().flat_map(|rule| looked_up(rule)).cloned();
            names.map(|set| (place.0, place.1.clone(), set)).collect::<Vec<_>>()
        };
        self.chains.iter().flat_map(of_chain).take(SETS_MOST).collect()
    }

    fn has_room(&mut self) -> bool {
        self.count += 1;
        self.count <= MOST
    }
}

pub(super) fn family(body: &[u8]) -> Result<(u8, &[u8]), Malformed> {
    let ([family, _, _, _], rest) = body.split_first_chunk().ok_or(Malformed)?;
    Ok((*family, rest))
}

/// Sets in which a rule looks up what is known of packets.
fn looked_up(rule: &[Expression]) -> Vec<&Vec<u8>> {
    let mut known = HashSet::new();
    let mut sets = Vec::new();
    for expression in rule {
        match expression {
            Expression::Load { what: What::Else, register } => drop(known.remove(register)),
            Expression::Load { register, .. } => drop(known.insert(*register)),
            Expression::Lookup { register, set, .. } if known.contains(register) => sets.push(set),
            _ => {}
        }
    }
    sets
}

/// A name without its closing zero.
pub(super) fn name(bytes: &[u8]) -> Vec<u8> {
    bytes.strip_suffix(&[0]).unwrap_or(bytes).to_vec()
}

fn chain(body: &[u8]) -> Result<Option<(Place, Chain)>, Malformed> {
    let (family, rest) = family(body)?;
    let hook = match attribute(rest, CHAIN_HOOK)? {
        Some(hook) => attribute(hook, HOOK_NUMBER)?.and_then(|number| be32_at(number, 0)),
        None => None,
    };
    let policy = attribute(rest, CHAIN_POLICY)?.and_then(|policy| be32_at(policy, 0));
    let kind = attribute(rest, CHAIN_TYPE)?.map(name);
    let (Some(table), Some(called)) = (attribute(rest, CHAIN_TABLE)?, attribute(rest, CHAIN_NAME)?) else {
        return Ok(None);
    };
    let chain = Chain {
        hook,
        drops: policy.is_some_and(|policy| policy.cast_signed() == NF_DROP),
        nat: kind.is_some_and(|kind| kind == b"nat"),
        rules: Vec::new(),
    };
    Ok(Some(((family, name(table), name(called)), chain)))
}

fn rule(body: &[u8]) -> Result<Option<(Place, Vec<Expression>)>, Malformed> {
    let (family, rest) = family(body)?;
    let (Some(table), Some(chain)) = (attribute(rest, RULE_TABLE)?, attribute(rest, RULE_CHAIN)?) else {
        return Ok(None);
    };
    let mut all = Vec::new();
    for element in attributes(attribute(rest, RULE_EXPRESSIONS)?.unwrap_or(&[])) {
        let (_, element) = element?;
        let called = attribute(element, EXPRESSION_NAME)?.map(name).unwrap_or_default();
        let data = attribute(element, EXPRESSION_DATA)?.unwrap_or(&[]);
        all.push(expression(&called, data)?);
    }
    Ok(Some(((family, name(table), name(chain)), all)))
}

fn expression(name: &[u8], data: &[u8]) -> Result<Expression, Malformed> {
    let word = |kind| Ok::<_, Malformed>(attribute(data, kind)?.and_then(|value| be32_at(value, 0)));
    let value = |kind| match attribute(data, kind)? {
        Some(nested) => Ok(attribute(nested, DATA_VALUE)?.map(<[u8]>::to_vec)),
        None => Ok::<_, Malformed>(None),
    };
    let understood = match name {
        b"counter" | b"log" | b"notrack" | b"last" => Some(Expression::Pass),
        b"reject" => Some(Expression::Decide(Decision::Drop)),
        b"meta" => word(1)?.map(|register| Ok((register, word(2)?))).transpose()?.map(|(register, key)| {
            let what = match key {
                Some(4) => What::InterfaceIndex,
                Some(6) => What::InterfaceName,
                Some(15) => What::NetworkProtocol,
                Some(16) => What::TransportProtocol,
                _ => What::Else,
            };
            Expression::Load { what, register }
        }),
        b"ct" => word(1)?.map(|register| Ok((register, word(2)?))).transpose()?.map(|(register, key)| {
            Expression::Load {
                what: match key {
                    Some(0) => What::ConnectionState,
                    Some(1) => What::Direction,
                    _ => What::Else,
                },
                register,
            }
        }),
        b"fib" => word(1)?.map(|register| Ok((register, word(2)?, word(3)?))).transpose()?.map(
            |(register, result, flags)| {
                let of_type = (result, flags) == (Some(ADDRESS_TYPE), Some(OF_DESTINATION));
                Expression::Load { what: if of_type { What::DestinationType } else { What::Else }, register }
            },
        ),
        b"payload" => match word(1)? {
            Some(register) => {
                // Of the transport's head two bytes at the place of the port.
                let port = (word(2)?, word(3)?, word(4)?) == (Some(2), Some(2), Some(2));
                Some(Expression::Load {
                    what: if port { What::DestinationPort } else { What::Else },
                    register,
                })
            }
            None => None,
        },
        b"cmp" => match (word(1)?, word(2)?, value(3)?) {
            (Some(register), Some(how), Some(value)) => Some(Expression::Compare { register, how, value }),
            _ => None,
        },
        b"range" => match (word(1)?, word(2)?, value(3)?, value(4)?) {
            (Some(register), Some(how @ (0 | 1)), Some(from), Some(to)) => {
                Some(Expression::Range { register, inside: how == 0, from, to })
            }
            _ => None,
        },
        b"bitwise" => match (word(1)?, word(2)?, value(4)?, value(5)?) {
            (Some(from), Some(to), Some(mask), Some(turn)) => Some(Expression::Bits { from, to, mask, turn }),
            _ => None,
        },
        b"immediate" => immediate(word(1)?, attribute(data, 2)?)?,
        b"lookup" => lookup(data)?,
        // Targets of iptables, and what sends a packet elsewhere.
        b"target" | b"queue" | b"tproxy" | b"redir" | b"nat" | b"fwd" | b"dup" | b"synproxy" => {
            Some(Expression::Undecided)
        }
        _ => None,
    };
    Ok(understood.unwrap_or(match name {
        b"immediate" | b"lookup" | b"objref" | b"dynset" => Expression::Undecided,
        _ => Expression::Unknown,
    }))
}

fn lookup(data: &[u8]) -> Result<Option<Expression>, Malformed> {
    let word = |kind| Ok::<_, Malformed>(attribute(data, kind)?.and_then(|value| be32_at(value, 0)));
    let to = word(LOOKUP_TO)?;
    let (Some(set), Some(register)) = (attribute(data, LOOKUP_SET)?, word(LOOKUP_FROM)?) else {
        // A set that decides nothing by itself holds this or not.
        return Ok(to.is_none().then_some(Expression::Unknown));
    };
    Ok(match to {
        None | Some(VERDICT_REGISTER) => Some(Expression::Lookup {
            register,
            set: name(set),
            inverted: word(LOOKUP_FLAGS)?.unwrap_or(0) & INVERTED != 0,
            decides: to.is_some(),
        }),
        // Goes on only if there is an element, and with what that holds.
        Some(_) => None,
    })
}

fn immediate(register: Option<u32>, data: Option<&[u8]>) -> Result<Option<Expression>, Malformed> {
    let Some(data) = data else { return Ok(None) };
    if register != Some(VERDICT_REGISTER) {
        return Ok(register.map(|register| Expression::Load { what: What::Else, register }));
    }
    let Some(data) = attribute(data, DATA_VERDICT)? else { return Ok(None) };
    Ok(Some(Expression::Decide(verdict(data)?)))
}

/// What a verdict says.
pub(super) fn verdict(data: &[u8]) -> Result<Decision, Malformed> {
    let code = attribute(data, VERDICT_CODE)?.and_then(|code| be32_at(code, 0)).ok_or(Malformed)?;
    let chain = attribute(data, VERDICT_CHAIN)?.map(name).unwrap_or_default();
    Ok(match code.cast_signed() {
        NF_ACCEPT => Decision::Accept,
        NF_DROP => Decision::Drop,
        CONTINUE => Decision::Continue,
        BREAK => Decision::Break,
        RETURN => Decision::Return,
        JUMP => Decision::Jump(chain),
        GOTO => Decision::Goto(chain),
        _ => Decision::Else,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::attributes_of as nested;

    fn body() -> Vec<u8> {
        let word = |word: u32| word.to_be_bytes();
        let load = nested(&[(1, &word(1)), (2, &word(2)), (3, &word(2)), (4, &word(2))]);
        let compare = nested(&[(1, &word(1)), (2, &word(0)), (3, &nested(&[(DATA_VALUE, &[0, 22])]))]);
        let drop = nested(&[(DATA_VERDICT, &nested(&[(VERDICT_CODE, &word(0))]))]);
        let drop = nested(&[(1, &word(0)), (2, &drop)]);
        let one = |name: &[u8], data: &[u8]| nested(&[(EXPRESSION_NAME, name), (EXPRESSION_DATA, data)]);
        let list = nested(&[
            (1, &one(b"payload\0", &load)),
            (1, &one(b"cmp\0", &compare)),
            (1, &one(b"counter\0", &[])),
            (1, &one(b"immediate\0", &drop)),
        ]);
        let rule = nested(&[(RULE_TABLE, b"t\0"), (RULE_CHAIN, b"in\0"), (RULE_EXPRESSIONS, &list)]);
        [vec![1, 0, 0, 0], rule].concat()
    }

    #[test]
    fn a_rule_is_understood_and_a_cut_one_is_not_taken_for_another() {
        let body = body();
        let (place, all) = rule(&body).unwrap().unwrap();
        assert_eq!(place, (1, b"t".to_vec(), b"in".to_vec()));
        assert_eq!(
            all,
            [
                Expression::Load { what: What::DestinationPort, register: 1 },
                Expression::Compare { register: 1, how: 0, value: vec![0, 22] },
                Expression::Pass,
                Expression::Decide(Decision::Drop),
            ]
        );
        for len in 0..body.len() {
            let mut rules = Rules::default();
            rules.add_rule(&body[..len]);
            let whole = rules.chains.values().any(|chain| chain.rules.contains(&all));
            assert!(rules.broken || !whole, "{len}");
        }
    }

    #[test]
    fn what_is_not_known_may_do_anything() {
        assert_eq!(expression(b"match", &[]), Ok(Expression::Unknown));
        assert_eq!(expression(b"target", &[]), Ok(Expression::Undecided));
        assert_eq!(expression(b"cmp", &[]), Ok(Expression::Unknown));
        assert_eq!(expression(b"lookup", &[]), Ok(Expression::Unknown));
        assert_eq!(expression(b"immediate", &[]), Ok(Expression::Undecided));
        let word = |word: u32| word.to_be_bytes();
        let map = nested(&[(LOOKUP_SET, b"m\0"), (LOOKUP_FROM, &word(1)), (LOOKUP_TO, &word(1))]);
        assert_eq!(expression(b"lookup", &map), Ok(Expression::Undecided));
    }
}
