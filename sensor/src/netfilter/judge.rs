//! What becomes of a packet that begins something new, as far as the rules say so for certain.

use super::{
    Verdict,
    rules::{Chain, Decision, Expression, Place, Rules, What},
    sets::Member,
};

/// Families of tables (`NFPROTO_…`).
const INET: u8 = 1;
const IPV4: u8 = 2;
const NETDEV: u8 = 5;
const IPV6: u8 = 10;
/// Hooks: `NF_INET_PRE_ROUTING`, `NF_INET_LOCAL_IN`, `NF_INET_INGRESS`; of devices `NF_NETDEV_INGRESS`.
const PREROUTING: u32 = 0;
const INPUT: u32 = 1;
const INGRESS: u32 = 5;
const DEVICE_INGRESS: u32 = 0;
/// `NF_CT_STATE_BIT(IP_CT_NEW)`.
const NEW: u32 = 8;
/// `IP_CT_DIR_ORIGINAL`, and `RTN_LOCAL` of routes.
const ORIGINAL: u8 = 0;
const LOCAL: u32 = 2;
/// The loopback is the first interface of each network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;
/// How deep chains may call each other (`NFT_JUMP_STACK_SIZE`).
const DEPTH: usize = 16;
/// Most steps that are taken for one packet.
const STEPS: usize = 50_000;

/// The first packet of something, from another host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Of IPv6, else of IPv4.
    pub v6: bool,
    /// The transport protocol.
    pub protocol: u8,
    /// The port that it is for.
    pub port: u16,
}

/// What may become of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ways {
    accepted: bool,
    dropped: bool,
    /// No rule decides.
    through: bool,
}

const ANY: Ways = Ways { accepted: true, dropped: true, through: true };

impl Ways {
    fn join(&mut self, other: Self) {
        self.accepted |= other.accepted;
        self.dropped |= other.dropped;
        self.through |= other.through;
    }
}

/// What is known of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Bytes(Vec<u8>),
    /// Anything but this.
    Not(Vec<u8>),
    Unknown,
}

/// What the registers hold; a rule uses a few.
#[derive(Default)]
struct Registers(Vec<(u32, Value)>);

impl Registers {
    fn set(&mut self, register: u32, value: Value) {
        self.0.retain(|(held, _)| *held != register);
        self.0.push((register, value));
    }

    fn get(&self, register: u32) -> Option<&Value> {
        self.0.iter().find(|(held, _)| *held == register).map(|(_, value)| value)
    }
}

/// Whether a rule holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Yes,
    No,
    Perhaps,
}

/// Judges one packet.
pub(super) fn judge(rules: &Rules, arrival: &Arrival) -> Verdict {
    if rules.broken {
        return Verdict::NotJudged;
    }
    let mut walk = Walk { rules, arrival, steps: STEPS };
    let mut verdict = Verdict::None;
    for (place, chain) in &rules.chains {
        if !sees(place.0, chain, arrival) {
            continue;
        }
        let mut ways = walk.chain(place, chain, 0);
        if ways.through {
            let policy = Ways { accepted: !chain.drops, dropped: chain.drops, through: false };
            ways.through = false;
            ways.join(policy);
        }
        match (ways.accepted, ways.dropped) {
            // Each chain has to let it in.
            (false, _) => return Verdict::Closed,
            (true, true) => verdict = Verdict::NotJudged,
            (true, false) if verdict == Verdict::None => verdict = Verdict::Open,
            (true, false) => {}
        }
    }
    verdict
}

/// Whether packets come to this chain on their way in. Those of a device, and what translates addresses, are of some
/// packets alone: they may only make it doubtful.
fn sees(family: u8, chain: &Chain, arrival: &Arrival) -> bool {
    let Some(hook) = chain.hook else { return false };
    let own = if arrival.v6 { IPV6 } else { IPV4 };
    match family {
        NETDEV => hook == DEVICE_INGRESS && !chain.rules.is_empty(),
        INET if hook == INGRESS => !chain.rules.is_empty(),
        INET => matches!(hook, PREROUTING | INPUT) && !chain.nat,
        family if family == own => matches!(hook, PREROUTING | INPUT) && !chain.nat,
        _ => false,
    }
}

struct Walk<'r> {
    rules: &'r Rules,
    arrival: &'r Arrival,
    steps: usize,
}

impl Walk<'_> {
    fn chain(&mut self, place: &Place, chain: &Chain, depth: usize) -> Ways {
        let device = place.0 == NETDEV || chain.hook == Some(INGRESS);
        let mut ways = Ways::default();
        for rule in &chain.rules {
            if self.steps == 0 || depth > DEPTH {
                return ANY;
            }
            self.steps -= 1;
            let (mut holds, decision) = self.rule(place, rule);
            // Of one device: it isn't known by which it comes.
            if device && holds == Holds::Yes {
                holds = Holds::Perhaps;
            }
            if holds == Holds::No {
                continue;
            }
            let Some(decided) = self.decided(place, decision, depth) else { continue };
            ways.accepted |= decided.0.accepted;
            ways.dropped |= decided.0.dropped;
            // It leaves the chain without being decided.
            ways.through |= decided.0.through && decided.1;
            let goes_on = decided.0.through && !decided.1;
            if holds == Holds::Yes && !goes_on {
                return ways;
            }
        }
        ways.through = true;
        ways
    }

    /// What a rule's decision leads to, and whether the chain is left where that decides nothing; none when the next rule
    /// follows.
    fn decided(&mut self, place: &Place, decision: Option<Decision>, depth: usize) -> Option<(Ways, bool)> {
        let none = Ways::default();
        Some(match decision? {
            Decision::Accept => (Ways { accepted: true, ..none }, true),
            Decision::Drop => (Ways { dropped: true, ..none }, true),
            Decision::Continue | Decision::Break => return None,
            Decision::Return => (Ways { through: true, ..none }, true),
            Decision::Else => (ANY, false),
            Decision::Jump(name) => (self.called(place, name, depth), false),
            Decision::Goto(name) => (self.called(place, name, depth), true),
        })
    }

    fn called(&mut self, place: &Place, name: Vec<u8>, depth: usize) -> Ways {
        let place = (place.0, place.1.clone(), name);
        match self.rules.chains.get(&place) {
            Some(chain) => self.chain(&place, chain, depth + 1),
            None => ANY,
        }
    }

    /// Whether a rule holds, and what it decides.
    fn rule(&self, place: &Place, rule: &[Expression]) -> (Holds, Option<Decision>) {
        let mut registers = Registers::default();
        let mut holds = Holds::Yes;
        for expression in rule {
            let held = match expression {
                Expression::Load { what, register } => {
                    registers.set(*register, self.value(*what));
                    Holds::Yes
                }
                Expression::Bits { from, to, mask, turn } => {
                    let value = bits(registers.get(*from), mask, turn);
                    registers.set(*to, value);
                    Holds::Yes
                }
                Expression::Compare { register, how, value } => {
                    compare(registers.get(*register), *how, value)
                }
                Expression::Range { register, inside, from, to } => {
                    within(registers.get(*register), *inside, from, to)
                }
                Expression::Lookup { register, set, inverted, decides } => {
                    let found = self.found(place, set, registers.get(*register));
                    match (found, decides) {
                        (Member::Is(Some(Decision::Break)) | Member::IsNot, true) => Holds::No,
                        (Member::Is(Some(decision)), true) => return (holds, Some(decision)),
                        (_, true) => return (weaker(holds, Holds::Perhaps), Some(Decision::Else)),
                        (Member::Is(_), false) => certain(!inverted),
                        (Member::IsNot, false) => certain(*inverted),
                        (Member::Unknown, false) => Holds::Perhaps,
                    }
                }
                Expression::Pass => Holds::Yes,
                Expression::Unknown => Holds::Perhaps,
                Expression::Undecided => return (weaker(holds, Holds::Perhaps), Some(Decision::Else)),
                Expression::Decide(Decision::Break) => Holds::No,
                Expression::Decide(decision) => return (holds, Some(decision.clone())),
            };
            holds = weaker(holds, held);
            if holds == Holds::No {
                return (Holds::No, None);
            }
        }
        (holds, None)
    }

    /// Whether a value is in a set of the table.
    fn found(&self, place: &Place, set: &[u8], value: Option<&Value>) -> Member {
        let Some(set) = self.rules.sets.get(&(place.0, place.1.clone(), set.to_vec())) else {
            return Member::Unknown;
        };
        match value {
            Some(Value::Bytes(bytes)) => set.has(bytes),
            Some(Value::Not(not)) => set.has_other_than(not),
            Some(Value::Unknown) | None => Member::Unknown,
        }
    }

    fn value(&self, what: What) -> Value {
        match what {
            What::NetworkProtocol => Value::Bytes(vec![if self.arrival.v6 { IPV6 } else { IPV4 }]),
            What::TransportProtocol => Value::Bytes(vec![self.arrival.protocol]),
            What::DestinationPort => Value::Bytes(self.arrival.port.to_be_bytes().to_vec()),
            What::ConnectionState => Value::Bytes(NEW.to_ne_bytes().to_vec()),
            What::Direction => Value::Bytes(vec![ORIGINAL]),
            What::DestinationType => Value::Bytes(LOCAL.to_ne_bytes().to_vec()),
            What::InterfaceIndex => Value::Not(LOOPBACK.to_ne_bytes().to_vec()),
            What::InterfaceName => Value::Not(b"lo".to_vec()),
            What::Else => Value::Unknown,
        }
    }
}

fn weaker(one: Holds, other: Holds) -> Holds {
    match (one, other) {
        (Holds::No, _) | (_, Holds::No) => Holds::No,
        (Holds::Yes, Holds::Yes) => Holds::Yes,
        _ => Holds::Perhaps,
    }
}

fn certain(holds: bool) -> Holds {
    if holds { Holds::Yes } else { Holds::No }
}

fn bits(value: Option<&Value>, mask: &[u8], turn: &[u8]) -> Value {
    match value {
        Some(Value::Bytes(bytes)) if bytes.len() == mask.len() && mask.len() == turn.len() => Value::Bytes(
            bytes.iter().zip(mask).zip(turn).map(|((byte, mask), turn)| byte & mask ^ turn).collect(),
        ),
        _ => Value::Unknown,
    }
}

/// `how`: equal, not equal, less, at most, greater, at least; of the bytes as they are, of as many as are compared.
fn compare(value: Option<&Value>, how: u32, with: &[u8]) -> Holds {
    match value {
        Some(Value::Bytes(bytes)) if bytes.len() >= with.len() && !with.is_empty() => {
            let bytes = bytes.get(..with.len()).unwrap_or(bytes);
            match how {
                0 => certain(bytes == with),
                1 => certain(bytes != with),
                2 => certain(bytes < with),
                3 => certain(bytes <= with),
                4 => certain(bytes > with),
                5 => certain(bytes >= with),
                _ => Holds::Perhaps,
            }
        }
        // A name of an interface is compared with the zeros behind it.
        Some(Value::Not(not))
            if with.starts_with(not) && with.iter().skip(not.len()).all(|byte| *byte == 0) =>
        {
            // Without a zero it is but the beginning of a name.
            let whole = with.len() > not.len() || not.len() == 4;
            match how {
                0 if whole => Holds::No,
                1 if whole => Holds::Yes,
                _ => Holds::Perhaps,
            }
        }
        _ => Holds::Perhaps,
    }
}

fn within(value: Option<&Value>, inside: bool, from: &[u8], to: &[u8]) -> Holds {
    match value {
        Some(Value::Bytes(bytes)) if bytes.len() == from.len() && from.len() == to.len() => {
            certain((from <= bytes.as_slice() && bytes.as_slice() <= to) == inside)
        }
        _ => Holds::Perhaps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SSH: Arrival = Arrival { v6: false, protocol: 6, port: 22 };

    fn place(family: u8, name: &str) -> Place {
        (family, b"t".to_vec(), name.as_bytes().to_vec())
    }

    fn load(what: What) -> Expression {
        Expression::Load { what, register: 1 }
    }

    fn is(value: &[u8]) -> Expression {
        Expression::Compare { register: 1, how: 0, value: value.to_vec() }
    }

    fn port(port: u16, decision: Decision) -> Vec<Expression> {
        vec![
            load(What::TransportProtocol),
            is(&[6]),
            load(What::DestinationPort),
            is(&port.to_be_bytes()),
            Expression::Decide(decision),
        ]
    }

    fn with(drops: bool, rules: Vec<Vec<Expression>>) -> Rules {
        let mut all = Rules::default();
        all.chains.insert(place(INET, "in"), Chain { hook: Some(INPUT), drops, nat: false, rules });
        all
    }

    #[test]
    fn a_policy_holds_for_what_no_rule_decides() {
        assert_eq!(judge(&with(true, vec![]), &SSH), Verdict::Closed);
        assert_eq!(judge(&with(false, vec![]), &SSH), Verdict::Open);
        let open = with(true, vec![port(22, Decision::Accept)]);
        assert_eq!(judge(&open, &SSH), Verdict::Open);
        assert_eq!(judge(&open, &Arrival { port: 23, ..SSH }), Verdict::Closed);
        assert_eq!(judge(&open, &Arrival { protocol: 17, ..SSH }), Verdict::Closed);
        let shut = with(false, vec![port(22, Decision::Drop)]);
        assert_eq!(
            (judge(&shut, &SSH), judge(&shut, &Arrival { port: 9, ..SSH })),
            (Verdict::Closed, Verdict::Open)
        );
    }

    #[test]
    fn the_usual_beginning_of_a_firewall_is_understood() {
        let established = vec![
            load(What::ConnectionState),
            Expression::Bits { from: 1, to: 1, mask: 6_u32.to_ne_bytes().to_vec(), turn: vec![0; 4] },
            Expression::Compare { register: 1, how: 1, value: vec![0; 4] },
            Expression::Decide(Decision::Accept),
        ];
        let named = vec![load(What::InterfaceName), is(b"lo\0\0"), Expression::Decide(Decision::Accept)];
        let numbered =
            vec![load(What::InterfaceIndex), is(&1_u32.to_ne_bytes()), Expression::Decide(Decision::Accept)];
        assert_eq!(judge(&with(true, vec![established, named, numbered]), &SSH), Verdict::Closed);
        let wide = vec![load(What::InterfaceName), is(b"lo"), Expression::Decide(Decision::Accept)];
        assert_eq!(judge(&with(true, vec![wide]), &SSH), Verdict::NotJudged, "lo* is more than lo");
    }

    #[test]
    fn what_is_not_known_is_not_judged() {
        let from = |decision| vec![load(What::Else), is(&[10, 0, 0, 1]), Expression::Decide(decision)];
        assert_eq!(judge(&with(true, vec![from(Decision::Accept)]), &SSH), Verdict::NotJudged);
        assert_eq!(judge(&with(false, vec![from(Decision::Drop)]), &SSH), Verdict::NotJudged);
        assert_eq!(judge(&with(true, vec![from(Decision::Drop)]), &SSH), Verdict::Closed, "either way");
        let target = vec![Expression::Unknown, Expression::Undecided];
        assert_eq!(judge(&with(true, vec![target.clone()]), &SSH), Verdict::NotJudged);
        assert_eq!(judge(&with(false, vec![target]), &SSH), Verdict::NotJudged);
    }

    #[test]
    fn chains_call_each_other() {
        let decide = |decision| vec![Expression::Decide(decision)];
        let called = |decision, inner: Vec<Vec<Expression>>| {
            let mut rules = with(true, vec![decide(decision), port(22, Decision::Accept)]);
            rules.chains.insert(place(INET, "sub"), Chain { rules: inner, ..Chain::default() });
            judge(&rules, &SSH)
        };
        let jump = || Decision::Jump(b"sub".to_vec());
        assert_eq!(called(jump(), vec![]), Verdict::Open, "and come back");
        assert_eq!(called(jump(), vec![decide(Decision::Return), decide(Decision::Drop)]), Verdict::Open);
        assert_eq!(called(jump(), vec![port(22, Decision::Drop)]), Verdict::Closed);
        assert_eq!(called(Decision::Goto(b"sub".to_vec()), vec![]), Verdict::Closed, "or don't");
        assert_eq!(called(Decision::Jump(b"none".to_vec()), vec![]), Verdict::NotJudged);
        assert_eq!(called(jump(), vec![decide(jump())]), Verdict::NotJudged, "without end");
        assert_eq!(called(Decision::Return, vec![]), Verdict::Closed, "the policy follows");
    }

    #[test]
    fn each_chain_has_to_let_it_in_and_others_don_t_matter() {
        let mut rules = with(false, vec![]);
        let chain = |hook, nat| Chain { hook: Some(hook), drops: true, nat, rules: vec![] };
        rules.chains.insert(place(IPV6, "six"), chain(INPUT, false));
        rules.chains.insert(place(IPV4, "out"), chain(3, false));
        rules.chains.insert(place(IPV4, "nat"), chain(PREROUTING, true));
        assert_eq!(judge(&rules, &SSH), Verdict::Open);
        assert_eq!(judge(&rules, &Arrival { v6: true, ..SSH }), Verdict::Closed);
        rules.chains.insert(place(IPV4, "raw"), chain(PREROUTING, false));
        assert_eq!(judge(&rules, &SSH), Verdict::Closed);
        let all = vec![vec![Expression::Decide(Decision::Drop)]];
        let device = Chain { hook: Some(DEVICE_INGRESS), drops: false, nat: false, rules: all };
        let mut rules = with(false, vec![]);
        rules.chains.insert(place(NETDEV, "eth0"), device);
        assert_eq!(judge(&rules, &SSH), Verdict::NotJudged, "of one device");
    }

    #[test]
    fn ranges_and_orders() {
        let value = Some(Value::Bytes(22_u16.to_be_bytes().to_vec()));
        let of = |from: u16, to: u16, inside| {
            within(value.as_ref(), inside, &from.to_be_bytes(), &to.to_be_bytes())
        };
        assert_eq!(
            (of(1, 22, true), of(23, 99, true), of(23, 99, false)),
            (Holds::Yes, Holds::No, Holds::Yes)
        );
        let than = |how, with: u16| compare(value.as_ref(), how, &with.to_be_bytes());
        assert_eq!(
            (than(2, 23), than(3, 22), than(4, 22), than(5, 22), than(9, 22)),
            (Holds::Yes, Holds::Yes, Holds::No, Holds::Yes, Holds::Perhaps)
        );
        assert_eq!(compare(None, 0, &[1]), Holds::Perhaps);
    }
}
