//! `sensor port`: ports are closed and opened again in network namespaces that the test makes, with real clients on all
//! sides. Nothing here touches the machine's own network.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails the test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tests::answer::run;
use tests::find::Source;
use tests::netns::{
    ALLOWED, BOXED, INSIDE, OUTSIDE, OUTSIDER, World, answers, at, connect, echo_here, is_cut, reaches,
    silent, udp_reaches, udp_silent, world,
};
use tests::program::{self, Running, net, steps};
use tests::sensor::{binary, command};
use tests::skip::{missing, skip};
use tests::sshd::{Group, Sshd};
use tests::terminal::Terminal;
use tests::{Answer, DEADLINE, Event, Folder, Sensor, boot, patience, until, words};

const NFT: &str = "/usr/sbin/nft";

/// Whether the test can't run here.
fn lacks() -> bool {
    skip() || !Path::new(NFT).exists() && missing("there is no nft (nftables)")
}

fn port(line: &str) -> Answer {
    port_by(&mut command(), line)
}

fn port_by(sensor: &mut Command, line: &str) -> Answer {
    let words: Vec<&str> = std::iter::once("port").chain(line.split_whitespace()).collect();
    Answer::of(sensor.args(words).env_remove("SSH_CONNECTION"))
}

fn done(line: &str) -> Answer {
    port(line).status(0)
}

/// A time in which something is done meanwhile, as the option takes it.
fn seconds(seconds: u64) -> String {
    patience(Duration::from_secs(seconds)).as_secs().to_string()
}

/// The rule that a command made.
fn id(answer: &Answer) -> String {
    assert_eq!(answer.rows.len(), 1, "{:#?} {}", answer.rows, answer.said);
    answer.rows[0].str("sensor.rule.id").to_owned()
}

fn listed(rule: &str) -> Event {
    done("list").row("sensor.rule.id", rule).clone()
}

/// The events that a command told on standard error.
fn told(answer: &Answer) -> Vec<Event> {
    answer
        .said
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| Event::parse(line.as_bytes()).unwrap())
        .collect()
}

fn nft(input: &str) -> String {
    let mut child = Command::new(NFT);
    let output = match input.strip_prefix("- ") {
        Some(words) => run(child.args(words.split_whitespace())),
        None => {
            let folder = Folder::inside(Path::new("/run"));
            // nft wants an end of line where a block ends.
            fs::write(folder.at("rules"), input.replace("; }", "\n}\n")).unwrap();
            run(child.arg("-f").arg(folder.at("rules")))
        }
    };
    assert!(output.status.success(), "{input}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Rules as Docker, firewalld and iptables-nft leave them.
fn rules_of_others() {
    nft("table ip nat {
        chain PREROUTING { type nat hook prerouting priority dstnat; policy accept; tcp dport 8080 fib daddr type local counter dnat to 172.30.0.2:80; }
    }
    table ip6 nat {
        chain PREROUTING { type nat hook prerouting priority dstnat; policy accept; tcp dport 8080 fib daddr type local dnat to [2001:db8:3::2]:80; }
    }
    table inet firewalld {
        chain filter_INPUT { type filter hook input priority filter + 10; policy accept; ct state { established, related } accept; }
    }
    table inet sensory { chain input { type filter hook input priority filter; policy accept; } }
    table ip sensor { chain input { type filter hook input priority filter; policy accept; tcp dport 1 drop comment \"sensor rule 00000000\"; } }");
    let iptables = Path::new("/usr/sbin/iptables-nft");
    if iptables.exists() {
        let output =
            run(Command::new(iptables).args(["-A", "INPUT", "-p", "tcp", "--dport", "9999", "-j", "DROP"]));
        assert!(output.status.success(), "{output:?}");
    }
}

/// All rules but the sensor's own, without their counters.
fn others() -> String {
    let all = nft("- -s list ruleset");
    let own = all.find("table inet sensor {").map(|start| {
        let end = start + all[start..].find("\n}\n").unwrap() + 3;
        all[start..end].to_owned()
    });
    own.map_or(all.clone(), |own| all.replace(&own, ""))
}

fn has_table() -> bool {
    nft("- list tables").contains("table inet sensor\n")
}

#[test]
fn what_was_done_is_in_the_journal_of_the_run_at_work() {
    if lacks() {
        return;
    }
    world(|_| {
        let folder = Folder::inside(Path::new("/run"));
        let config = folder.at("sensor.toml").display().to_string();
        let text = format!("[journal]\nfolder = {:?}\n[evidence]\nfolder = \"\"\n", folder.at("journal"));
        fs::write(&config, &text).unwrap();
        let sensor = Sensor::with().config(&text).live();
        let mut victim = Running::of(program::actor(), words!["wait"]);
        let verify = ["--verify", "0", "--no-evidence", "--format", "json", "--config", &config];
        let pid = victim.pid().to_string();
        let secret = ["--reason", "a drill", "--yes", "--pid", &pid];
        let killed = Answer::of(command().arg("kill").args(secret).args(verify)).status(0);
        victim.wait();
        let closed = done("close 7000 --yes --reason drill");
        done(&format!("undo {}", id(&closed)));
        for (method, answer) in [("kill", &killed), ("port_close", &closed)] {
            let event = sensor.find("contain").with("sensor.contain.method", method).wait();
            assert!(event.faults().is_empty(), "{:#?}", event.faults());
            assert_eq!(event.str("process.executable"), binary().to_str().unwrap());
            // Who reads both knows it for one.
            let own = &told(answer)[0];
            for field in ["event.id", "@timestamp", "process.pid", "sensor.reason"] {
                assert_eq!(own.get(field), event.get(field), "{field}");
            }
        }
        let sql = "SELECT line ->> '$.sensor.contain.method' AS method, line ->> '$.sensor.contain.target' AS target, \
            line ->> '$.process.name' AS who FROM events WHERE action = 'contain' ORDER BY position";
        let wanted = [
            ("kill", format!("pid {pid}")),
            ("port_close", "port 7000".into()),
            ("port_undo", "port 7000".into()),
        ];
        let wanted = wanted.map(
            |(method, target)| serde_json::json!({ "method": method, "target": target, "who": "sensor" }),
        );
        let ask = || {
            let output = run(command().args(["query", "--format", "json", "--config", &config, sql]));
            let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            lines.map(|line| serde_json::from_slice(line).unwrap()).collect::<Vec<serde_json::Value>>()
        };
        until("the journal has all three", || ask().len() == wanted.len());
        assert_eq!(ask(), wanted);
        sensor.stop().clean();
        let after = done("close 7000 --yes");
        assert_eq!(told(&after).len(), 1, "nobody is at work, and it is told all the same");
        assert!(!after.said.contains("at work"), "{}", after.said);
    });
}

#[test]
fn a_closed_port_lets_in_whom_it_allows_and_nobody_else() {
    if lacks() {
        return;
    }
    world(|world| {
        rules_of_others();
        let before = others();
        let _echo = echo_here(7000);
        let mut cut = world.outsider.there(|| connect(at(OUTSIDE[0], 7000), DEADLINE).unwrap());
        let mut stays = world.allowed.there(|| connect(at(INSIDE[0], 7000), DEADLINE).unwrap());
        assert!(answers(&mut cut) && answers(&mut stays));
        for address in OUTSIDE {
            assert!(
                world.outsider.there(|| reaches(at(address, 7000)) && udp_reaches(at(address, 7000))),
                "{address}"
            );
        }

        let dry = done("close 7000 --allow 198.51.100.0/24 2001:db8:2::/64 --dry-run");
        assert_eq!(dry.rows[0].str("sensor.rule.state"), "planned");
        assert!(!has_table() && dry.said.contains("would end 1 connections"), "{}", dry.said);

        let made = done("close 7000 --allow 198.51.100.0/24 2001:db8:2::/64 --yes --reason wild");
        let rule = id(&made);
        assert_eq!(made.rows[0].str("sensor.rule.way"), "nftables");
        assert_eq!(made.rows[0].texts("sensor.rule.allow"), ["198.51.100.0/24", "2001:db8:2::/64"]);
        let [event] = &told(&made)[..] else { panic!("{}", made.said) };
        assert_eq!(
            (event.action(), event.str("event.reason"), event.str("sensor.rule.id")),
            ("contain", "wild", &*rule)
        );
        assert_eq!(event.str("event.outcome"), "success");
        event.whole();

        assert!(world.outsider.there(|| is_cut(&mut cut)), "its other end is told");
        assert!(world.allowed.there(|| answers(&mut stays)));
        for address in OUTSIDE {
            let closed = world.outsider.there(|| silent(at(address, 7000)) && udp_silent(at(address, 7000)));
            assert!(closed, "{address}");
        }
        for address in INSIDE {
            assert!(
                world.allowed.there(|| reaches(at(address, 7000)) && udp_reaches(at(address, 7000))),
                "{address}"
            );
        }
        assert!(reaches(at("127.0.0.1", 7000)) && reaches(at(OUTSIDE[0], 7000)), "the host itself");
        assert_eq!(others(), before);
        assert_eq!(listed(&rule).str("sensor.rule.state"), "in_force");

        // The same again is the same rule; another for the other protocol isn't.
        assert_eq!(id(&done("close 7000 --allow 2001:db8:2::/64,198.51.100.0/24 --yes")), rule);
        // One that somebody took out is put there again, by the same name.
        nft("delete table inet sensor");
        assert_eq!(listed(&rule).str("sensor.rule.state"), "not_in_force");
        assert_eq!(id(&done("close 7000 --allow 2001:db8:2::/64,198.51.100.0/24 --yes")), rule);
        assert!(world.outsider.there(|| silent(at(OUTSIDE[0], 7000))));
        let other = id(&done("close 7001/udp --yes"));
        assert_ne!(other, rule);
        done(&format!("undo {rule}"));
        assert!(has_table(), "another rule is there");
        assert!(world.outsider.there(|| reaches(at(OUTSIDE[0], 7000)) && udp_reaches(at(OUTSIDE[1], 7000))));
        done(&format!("undo {other}"));
        assert!(!has_table());
        assert_eq!(others(), before);
        assert_eq!(port(&format!("undo {rule}")).status, Some(1));
    });
}

#[test]
fn connections_are_ended_where_all_addresses_can_be_bound_to() {
    if lacks() {
        return;
    }
    world(|world| {
        for family in ["ipv4", "ipv6"] {
            fs::write(format!("/proc/sys/net/{family}/ip_nonlocal_bind"), "1").unwrap();
        }
        let _echo = echo_here(7000);
        let mut cut =
            OUTSIDE.map(|address| world.outsider.there(|| connect(at(address, 7000), DEADLINE).unwrap()));
        assert!(cut.iter_mut().all(answers));
        let made = done("close 7000 --yes");
        assert!(made.said.contains("2 connections"), "{}", made.said);
        world.outsider.there(|| assert!(cut.iter_mut().all(is_cut)));
    });
}

#[test]
fn a_port_that_leads_into_a_container_is_closed_by_its_outer_number() {
    if lacks() {
        return;
    }
    world(|world| {
        rules_of_others();
        let before = others();
        let _echo = world.boxed.echo(80);
        let mut cut = world.outsider.there(|| connect(at(OUTSIDE[0], 8080), DEADLINE).unwrap());
        assert!(answers(&mut cut) && world.outsider.there(|| reaches(at(OUTSIDE[1], 8080))));
        let made = done("close 8080/tcp --allow 198.51.100.2 --yes");
        assert!(world.outsider.there(|| is_cut(&mut cut)), "{}", made.said);
        for address in OUTSIDE {
            assert!(world.outsider.there(|| silent(at(address, 8080))), "{address}");
        }
        assert!(world.allowed.there(|| reaches(at(INSIDE[0], 8080)) && silent(at(INSIDE[1], 8080))));
        // What only passes through on its way to this port of another is nobody's business.
        let _other = world.allowed.echo(8080);
        assert!(world.outsider.there(|| reaches(at(ALLOWED[0], 8080))));
        done(&format!("undo {}", id(&made)));
        assert!(world.outsider.there(|| reaches(at(OUTSIDE[0], 8080)) && reaches(at(OUTSIDE[1], 8080))));
        assert_eq!(others(), before);
    });
}

/// What `ports` says the firewall does with what comes to each of these ports.
fn judged<const N: usize>(ports: [u16; N]) -> [String; N] {
    let answer = Answer::of(command().arg("ports"));
    ports.map(|port| {
        let row = answer.rows.iter().find(|row| row.text("server.port") == Some(port.to_string()));
        row.unwrap().text("sensor.firewall").unwrap_or_default()
    })
}

#[test]
fn what_is_closed_shows_where_listeners_are_listed() {
    if lacks() {
        return;
    }
    world(|_| {
        let echoes = [7001, 7002, 7003, 7004].map(echo_here);
        assert_eq!(judged([7001]), [""]);
        let made = done("close 7001 --yes");
        assert_eq!(judged([7001, 7002]), ["closed", "open"]);
        done(&format!("undo {}", id(&made)));
        let some = done("close 7001 --allow 198.51.100.2 --yes");
        assert_eq!(judged([7001, 7002]), ["not_judged", "open"], "from one address it is open");
        done(&format!("undo {}", id(&some)));
        // As nft's own pages begin a firewall: with sets, maps and ranges.
        nft("table inet filter {
            set services { type inet_service; flags interval; elements = { 7002, 7100-7200 }; }
            chain input { type filter hook input priority filter; policy drop;
                ct state vmap { established : accept, related : accept, invalid : drop }
                iifname { \"lo\" } accept
                tcp dport @services accept
                udp dport { 53, 7003 } accept
                tcp dport vmap { 22 : accept, 7001 : jump more }; }
            chain more { ip saddr 192.0.2.2 accept; }
        }");
        assert_eq!(judged([7001, 7002, 7004]), ["not_judged", "open", "closed"]);
        let udp = Answer::of(command().arg("ports"));
        let row = udp.rows.iter().find(|row| {
            row.text("server.port") == Some("7003".to_owned()) && row.str("network.transport") == "tcp"
        });
        assert_eq!(row.unwrap().str("sensor.firewall"), "closed", "open for UDP only");
        drop(echoes);
    });
}

#[test]
fn an_isolated_host_speaks_only_with_whom_it_allows() {
    if lacks() {
        return;
    }
    world(|world| {
        let _echo = echo_here(7000);
        let _outside = world.outsider.echo(7100);
        let _allowed = world.allowed.echo(7100);
        let line = format!("tcp a 4 connect a {} 7100 say runs wait", OUTSIDER[0]);
        let calls = Running::of(net(), steps(&line));
        calls.until("runs");
        let made = done("isolate --allow 198.51.100.2 2001:db8:2::2 --yes");
        let event = told(&made).remove(0);
        assert_eq!(event.str("sensor.contain.method"), "port_isolate");
        assert!(event.str("sensor.reason").contains("ended 1 connections"), "{}", event.str("sensor.reason"));
        for (mine, yours) in OUTSIDE.into_iter().zip(OUTSIDER) {
            assert!(world.outsider.there(|| silent(at(mine, 7000)) && udp_silent(at(mine, 7000))), "{mine}");
            assert!(silent(at(yours, 7100)) && udp_silent(at(yours, 7100)), "{yours}");
        }
        for (mine, yours) in INSIDE.into_iter().zip(ALLOWED) {
            assert!(world.allowed.there(|| reaches(at(mine, 7000))), "{mine}");
            assert!(reaches(at(yours, 7100)), "{yours}");
        }
        // Through the host only to and from whom it allows.
        assert!(world.boxed.there(|| reaches(at(ALLOWED[0], 7100)) && silent(at(OUTSIDER[0], 7100))));
        assert!(reaches(at("127.0.0.1", 7000)) && reaches(at(OUTSIDE[0], 7000)), "the host itself");
        // Neighbours are found anew.
        tests::netns::ip("neigh flush all");
        assert!(reaches(at(ALLOWED[1], 7100)));
        done(&format!("undo {}", id(&made)));
        assert!(world.outsider.there(|| reaches(at(OUTSIDE[1], 7000))) && reaches(at(OUTSIDER[0], 7100)));
    });
}

#[test]
fn an_isolated_host_still_reaches_where_its_events_go() {
    if lacks() {
        return;
    }
    world(|world| {
        let _siem = world.outsider.echo(6514);
        let folder = Folder::inside(Path::new("/run"));
        let config = folder.at("sensor.toml");
        let outputs = [OUTSIDER[0], "siem.invalid"].map(|host| {
            let name = if host == OUTSIDER[0] { "near" } else { "nowhere" };
            format!("[[outputs]]\nname = \"{name}\"\ntype = \"syslog\"\ntransport = \"tcp\"\naddress = \"{host}:6514\"\n")
        });
        fs::write(&config, outputs.concat()).unwrap();
        let made =
            port(&format!("isolate --allow 198.51.100.2 --yes --config {}", config.display())).status(4);
        assert!(made.said.contains("the output near: 192.0.2.2"), "{}", made.said);
        assert!(made.said.contains("the output nowhere"), "{}", made.said);
        assert!(reaches(at(OUTSIDER[0], 6514)) && silent(at(OUTSIDER[1], 6514)));
        done(&format!("undo {}", id(&made)));
    });
}

/// The environment of a session over ssh from the outsider, with a connection that is really there.
fn session(world: &World) -> (String, Running, std::net::TcpStream) {
    let echo = echo_here(22);
    let stream = world.outsider.there(|| connect(at(OUTSIDE[0], 22), DEADLINE).unwrap());
    let from = stream.local_addr().unwrap();
    (format!("{} {} {} 22", from.ip(), from.port(), OUTSIDE[0]), echo, stream)
}

#[test]
fn the_operator_is_not_shut_out() {
    if lacks() {
        return;
    }
    world(|world| {
        let (hint, _sshd, mut stream) = session(world);
        let over_ssh = |line: &str, hint: &str| {
            Answer::of(command().arg("port").args(line.split_whitespace()).env("SSH_CONNECTION", hint))
        };
        let refused = over_ssh("isolate --allow 198.51.100.2 --yes", &hint).status(2);
        assert!(refused.said.contains("add --allow 192.0.2.2"), "{}", refused.said);
        assert!(!has_table() && done("list").rows.is_empty());
        // What isn't there is believed of nobody.
        let made = over_ssh("isolate --allow 198.51.100.2 --yes", "192.0.2.2 9 192.0.2.1 22").status(0);
        assert!(made.said.contains("isn't known"), "{}", made.said);
        done(&format!("undo {}", id(&made)));
        let mut again = world.outsider.there(|| connect(at(OUTSIDE[0], 22), DEADLINE).unwrap());
        drop(std::mem::replace(&mut stream, again.try_clone().unwrap()));
        let from = again.local_addr().unwrap();
        let hint = format!("{} {} {} 22", from.ip(), from.port(), OUTSIDE[0]);
        let made = over_ssh("close 22/tcp --allow 198.51.100.2 --yes", &hint).status(0);
        assert_eq!(made.rows[0].texts("sensor.rule.kept"), [format!("{from}->192.0.2.1:22")]);
        assert!(answers(&mut again), "the operator's connection goes on");
        assert!(world.outsider.there(|| silent(at(OUTSIDE[0], 22))), "and is the only one");
        // By the process that holds it, without any hint: the sensor's own parent.
        done(&format!("undo {}", id(&made)));
        let stream = world.allowed.there(|| {
            let listener = std::net::TcpListener::bind("0.0.0.0:9").unwrap();
            (listener.local_addr().unwrap().port(), listener)
        });
        let held = connect(at(ALLOWED[0], stream.0), DEADLINE).unwrap();
        let refused = port("isolate --allow 192.0.2.2 --yes").status(2);
        assert!(refused.said.contains("add --allow 198.51.100.2"), "{}", refused.said);
        drop(held);
    });
}

#[test]
fn a_session_of_sshd_outlives_the_rule_that_was_made_in_it() {
    if lacks() {
        return;
    }
    world(|world| {
        let Some(sshd) = Sshd::at(OUTSIDE[0]) else { return };
        let (sensor, port) = (binary().display().to_string(), sshd.port);
        // What is typed after the rule, and its answer, have to come through.
        let script = format!(
            "{sensor} port close {port}/tcp --allow 198.51.100.2 --yes --format json 2>/dev/null; echo $?; read x; echo over"
        );
        let mut session = world.outsider.there(|| sshd.typed(&script));
        let rule = Event::parse(session.line().as_bytes()).unwrap();
        assert_eq!(session.line(), "0");
        let kept = rule.texts("sensor.rule.kept");
        assert!(kept.len() == 1 && kept[0].ends_with(&format!("->192.0.2.1:{port}")), "{kept:?}");
        assert!(kept[0].starts_with("192.0.2.2:"), "{kept:?}");
        assert!(world.outsider.there(|| connect(at(OUTSIDE[0], port), Duration::from_millis(400)).is_none()));
        session.go();
        assert_eq!(session.line(), "over");
        session.wait();
        // Over ssh nobody shuts himself out of the whole host.
        done(&format!("undo {}", rule.str("sensor.rule.id")));
        let script = format!("{sensor} port isolate --allow 198.51.100.2 --yes 2>&1; echo $?");
        let mut session = world.outsider.there(|| sshd.typed(&script));
        let said = session.rest();
        assert!(said.contains("add --allow 192.0.2.2") && said.trim_end().ends_with("\n2"), "{said}");
        assert!(done("list").rows.is_empty());
    });
}

#[test]
#[ignore = "a million packets: cargo test -p tests --test port -- --ignored a_full_table_of_connections"]
fn a_full_table_of_connections_is_no_way_around_a_rule() {
    if lacks() {
        return;
    }
    world(|world| {
        let _echo = echo_here(7000);
        // So that connections are followed at all.
        nft(
            "table inet follow { chain input { type filter hook input priority filter; policy accept; ct state invalid drop; } }",
        );
        let mut cut = world.outsider.there(|| connect(at(OUTSIDE[0], 7000), DEADLINE).unwrap());
        assert!(answers(&mut cut));
        let most: u64 =
            fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").unwrap().trim().parse().unwrap();
        // How many there are, and how many had to go or weren't let in, of all processors.
        let known = || {
            let text = fs::read_to_string("/proc/thread-self/net/stat/nf_conntrack").unwrap();
            let rows = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
            let number = |word: &str| u64::from_str_radix(word, 16).unwrap();
            rows.fold([0, 0], |[_, gone], row| [number(row[0]), gone + number(row[10]) + number(row[11])])
        };
        // Each port of each address is a connection of its own.
        let sockets: Vec<_> =
            (0..=most / 60_000).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        for port in 1..=u16::MAX {
            for socket in &sockets {
                // A refusal of the one before.
                let _ = socket.send_to(b"x", ("127.0.0.1", port));
            }
        }
        let [entries, gone] = known();
        assert!(entries + 64 > most && gone > 0, "{entries} of {most}, {gone} had to go");
        let made = done("close 7000 --allow 198.51.100.2 --yes");
        assert!(is_cut(&mut cut), "what was begun before is ended");
        assert_eq!(listed(&id(&made)).str("sensor.rule.state"), "in_force");
        done(&format!("undo {}", id(&made)));
    });
}

#[test]
fn an_unconfirmed_rule_is_undone_when_the_operator_is_gone() {
    if lacks() {
        return;
    }
    world(|world| {
        let _echo = echo_here(7000);
        // On a terminal that vanishes with all of its session.
        let mut terminal = Terminal::start(
            &binary(),
            words!["port", "close", "7000", "--confirm-within", seconds(3), "--format", "text"],
            &[],
            (200, 40),
        );
        terminal.until("the question", |lines| lines.iter().any(|line| line.contains("[y/N]")));
        assert!(world.outsider.there(|| silent(at(OUTSIDE[0], 7000))));
        terminal.vanish();
        drop(terminal);
        until("the rule is undone by itself", || !has_table());
        assert!(world.outsider.there(|| reaches(at(OUTSIDE[0], 7000))));
        let text = run(command().args(["port", "list", "--format", "text"]));
        let text = String::from_utf8(text.stdout).unwrap();
        assert!(text.contains("no rules") && text.contains("nobody confirmed it in time"), "{text}");
        // Without one, and its process group is killed.
        let mut group =
            Group::start(command().args(["port", "close", "7000", "--confirm-within", &seconds(2)]));
        until("the rule is there", has_table);
        group.end();
        until("the rule is undone by itself", || !has_table());
        until("its record is struck", || done("list").rows.is_empty());
        until("both ends are told", || {
            let ends = fs::read_to_string("/run/sensor/contain.ndjson").unwrap();
            ends.lines().filter(|line| line.contains("port_expire")).count() == 2
        });
    });
}

#[test]
fn what_is_confirmed_stays_and_what_is_refused_goes() {
    if lacks() {
        return;
    }
    world(|_| {
        let ask = |key: &str| {
            let words = words!["port", "close", "7000", "--format", "text"];
            let mut terminal = Terminal::start(&binary(), words, &[], (200, 40));
            terminal.until("the question", |lines| lines.iter().any(|line| line.contains("[y/N]")));
            terminal.press(key);
            assert!(terminal.wait().success());
        };
        ask("n\r");
        assert!(!has_table());
        ask("y\r");
        let rule = done("list").rows[0].clone();
        assert_eq!(rule.str("sensor.rule.state"), "in_force");
        assert!(!rule.has("sensor.rule.until"));
        done(&format!("undo {}", rule.str("sensor.rule.id")));

        let made = done("close 7000 --for 1h --confirm-within 9m");
        let (rule, first) = (id(&made), made.rows[0].str("sensor.rule.until").to_owned());
        assert_eq!(made.rows[0].str("sensor.rule.state"), "unconfirmed");
        assert!(made.said.contains(&format!("sensor port confirm {rule}")), "{}", made.said);
        done(&format!("confirm {rule}"));
        let kept = listed(&rule);
        assert_eq!(kept.str("sensor.rule.state"), "in_force");
        assert!(kept.str("sensor.rule.until") > &*first);
        let set = nft(&format!("- list set inet sensor live_{rule}"));
        assert!(set.contains("timeout 1h") || set.contains("timeout 59m"), "{set}");
        // The same for longer lasts longer, and for less no less.
        let end = |made: &Answer| {
            assert_eq!(id(made), rule);
            listed(&rule).str("sensor.rule.until").to_owned()
        };
        let longer = end(&done("close 7000 --for 5h --yes"));
        assert!(*longer > *kept.str("sensor.rule.until"));
        let set = nft(&format!("- list set inet sensor live_{rule}"));
        assert!(set.contains("timeout 5h") || set.contains("timeout 4h59m"), "{set}");
        assert_eq!(end(&done("close 7000 --for 1m --yes")), longer);
        done(&format!("undo {rule}"));
        assert_eq!(port(&format!("confirm {rule}")).status, Some(1));
        // The same with --yes needs nobody to confirm it any more.
        let rule = id(&done("close 7000 --confirm-within 9m"));
        assert_eq!(listed(&rule).str("sensor.rule.state"), "unconfirmed");
        assert_eq!(id(&done("close 7000 --yes")), rule);
        assert_eq!(listed(&rule).str("sensor.rule.state"), "in_force");
        done(&format!("undo {rule}"));

        let short = id(&done("close 7000 --for 1 --yes"));
        until("its time is over", || !done("list").rows.iter().any(|row| row.str("sensor.rule.id") == short));
        assert!(!has_table());
    });
}

#[test]
fn the_kernel_ends_a_rule_whose_guard_was_killed() {
    if lacks() {
        return;
    }
    world(|world| {
        let _echo = echo_here(7000);
        let made = done(&format!("close 7000 --confirm-within {}", seconds(2)));
        let record = fs::read_to_string(format!("/run/sensor/rules/{}.rule", id(&made))).unwrap();
        let guard: serde_json::Value = serde_json::from_str(&record).unwrap();
        let pid = i32::try_from(guard["guard"][0].as_i64().unwrap()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
        until("the kernel lets go", || listed(&id(&made)).str("sensor.rule.state") == "over");
        assert!(world.outsider.there(|| reaches(at(OUTSIDE[0], 7000))));
        // The next command clears up.
        let next = done("close 7001 --yes");
        let expired =
            told(&next).into_iter().find(|event| event.str("sensor.contain.method") == "port_expire");
        assert_eq!(expired.unwrap().str("sensor.rule.id"), id(&made));
        assert_eq!(done("list").rows.len(), 1);
    });
}

#[test]
fn two_sensors_at_once_leave_each_other_alone() {
    if lacks() {
        return;
    }
    world(|_| {
        let all: Vec<_> = (1..=6)
            .map(|port| {
                let port = port.to_string();
                let mut sensor = command();
                sensor.args(["port", "close", &port, "--yes"]).stdout(Stdio::piped()).stderr(Stdio::null());
                sensor.spawn().unwrap()
            })
            .collect();
        for child in all {
            assert!(child.wait_with_output().unwrap().status.success());
        }
        let rows = done("list").rows;
        assert_eq!(rows.len(), 6);
        assert!(rows.iter().all(|row| row.str("sensor.rule.state") == "in_force"), "{rows:#?}");
        let undone: Vec<_> = rows[..5]
            .iter()
            .map(|row| {
                let mut sensor = command();
                sensor.args(["port", "undo", row.str("sensor.rule.id")]).stderr(Stdio::null());
                sensor.spawn().unwrap()
            })
            .collect();
        for child in undone {
            assert!(child.wait_with_output().unwrap().status.success());
        }
        let left = done("list").rows;
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].str("sensor.rule.state"), "in_force");
        assert_eq!(left[0].str("sensor.rule.id"), rows[5].str("sensor.rule.id"));
    });
}

#[test]
fn a_command_that_is_killed_leaves_nothing_that_nobody_ends() {
    if lacks() {
        return;
    }
    world(|_| {
        for killed in 0..8 {
            let mut sensor = command();
            sensor
                .args(["port", "close", "7000", "--confirm-within", "1"])
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let mut child = sensor.spawn().unwrap();
            std::thread::sleep(Duration::from_millis(killed * 15));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        // A record of a rule that never came about is struck, and what came about ends by itself.
        until("all is over", || {
            done("close 7001 --yes");
            done("list").rows.len() == 1
        });
        done(&format!("undo {}", done("list").rows[0].str("sensor.rule.id")));
        assert!(!has_table());
    });
}

#[test]
fn a_rule_comes_back_after_a_boot() {
    if lacks() {
        return;
    }
    world(|world| {
        let _echo = echo_here(7000);
        // The host's own units stay as they are.
        let machine = fs::read("/etc/machine-id").unwrap_or_default();
        tests::place::mount_tmpfs(Path::new("/etc"), "64m");
        fs::write("/etc/machine-id", machine).unwrap();
        let part = port("close 7000 --persist --yes").status(4);
        assert!(part.said.contains("no systemd") && part.said.contains("port restore"), "{}", part.said);
        done(&format!("undo {}", id(&part)));
        fs::create_dir_all("/etc/systemd/system").unwrap();
        let unit = Path::new("/etc/systemd/system/sysinit.target.wants/sensor-ports.service");
        // Whoever could put another program in its place would have it run as root.
        let folder = Folder::new();
        let [exposed, installed] = [folder.at("sensor"), "/etc/installed".into()];
        for place in [&exposed, &installed] {
            program::copy(&binary(), place);
        }
        let part = port_by(&mut Command::new(&exposed), "close 7000 --persist --yes").status(4);
        assert!(part.said.contains("others than root may put another program in its place"), "{}", part.said);
        assert!(!unit.exists());
        done(&format!("undo {}", id(&part)));
        // Nothing that isn't confirmed comes back.
        let unsure = id(&done("close 7000 --persist"));
        assert!(
            !unit.exists() && !Path::new("/var/lib/sensor/rules").join(format!("{unsure}.rule")).exists()
        );
        port_by(&mut Command::new(&installed), &format!("confirm {unsure}")).status(0);
        let text = fs::read_to_string(unit).unwrap();
        assert!(text.contains("ExecStart=\"/etc/installed\" port restore"), "{text}");
        let passing = id(&done("close 7001 --yes"));

        nft("delete table inet sensor");
        fs::remove_dir_all("/run/sensor").unwrap();
        assert_eq!(listed(&unsure).str("sensor.rule.state"), "not_in_force");
        assert!(world.outsider.there(|| reaches(at(OUTSIDE[0], 7000))));
        done("restore");
        assert_eq!(listed(&unsure).str("sensor.rule.state"), "in_force");
        assert!(world.outsider.there(|| silent(at(OUTSIDE[0], 7000))));
        assert!(!done("list").rows.iter().any(|row| row.str("sensor.rule.id") == passing));
        done("restore");
        done(&format!("undo {unsure}"));
        assert!(!unit.exists() && !has_table());
    });
}

#[test]
fn systemd_puts_a_rule_back_at_each_boot() {
    if lacks()
        || !boot::has_systemd() && missing("there is no systemd")
        || tests::place::cgroups().is_none() && missing("there are no cgroups of version 2")
    {
        return;
    }
    tests::place::private_mounts(|| {
        let host = boot::Host::new();
        let sensor = host.install(&binary()).display().to_string();
        let rules = |booted: &boot::Booted| {
            let listed = booted.there(&[&sensor, "port", "list", "--format", "json"]);
            assert!(listed.status.success(), "{listed:?}");
            let rows = listed.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            rows.map(|line| Event::parse(line).unwrap()).collect::<Vec<_>>()
        };
        let booted = host.boot().unwrap();
        assert!(rules(&booted).is_empty());
        for words in [["close", "7000", "--persist", "--yes"].as_slice(), &["close", "7001", "--yes"]] {
            let closed = booted.there(&[&[&*sensor, "port"], words].concat());
            assert!(closed.status.success(), "{closed:?}");
        }
        assert_eq!(rules(&booted).len(), 2);
        drop(booted);
        let booted = host.boot().unwrap();
        // Before the network is, which isn't when these targets are.
        until(
            "the rule is in force again",
            || matches!(&rules(&booted)[..], [only] if only.str("sensor.rule.state") == "in_force"),
        );
        let back = rules(&booted);
        let table = booted.there(&[NFT, "list", "table", "inet", "sensor"]);
        assert!(String::from_utf8_lossy(&table.stdout).contains("7000"), "{table:?}");
        let undone = booted.there(&[&sensor, "port", "undo", back[0].str("sensor.rule.id")]);
        assert!(undone.status.success(), "{undone:?}");
        drop(booted);
        let booted = host.boot().unwrap();
        let unit = booted.there(&["systemctl", "is-enabled", "sensor-ports.service"]);
        assert!(!unit.status.success() && rules(&booted).is_empty(), "{unit:?}");
    });
}

#[test]
fn without_nft_a_program_at_the_cgroups_does_the_same() {
    if lacks() || tests::place::cgroups().is_none() && missing("there are no cgroups of version 2") {
        return;
    }
    world(|world| {
        tests::place::mount_bind(Path::new("/dev/null"), Path::new(NFT));
        tests::place::mount_bpf(Path::new("/sys/fs/bpf"));
        let pins = Path::new("/sys/fs/bpf/sensor-port");
        let _echo = echo_here(7000);
        let elsewhere = world.boxed.echo(7000);
        let mut cut = world.outsider.there(|| connect(at(OUTSIDE[0], 7000), DEADLINE).unwrap());
        let mut stays = world.allowed.there(|| connect(at(INSIDE[0], 7000), DEADLINE).unwrap());
        assert!(answers(&mut cut) && answers(&mut stays));
        let made = port("close 7000 --allow 198.51.100.0/24 2001:db8:2::/64 --yes").status(4);
        assert_eq!(made.rows[0].str("sensor.rule.way"), "cgroup");
        assert!(
            made.said.contains("not by nftables") && made.said.contains("pass through this host"),
            "{}",
            made.said
        );
        assert!(world.outsider.there(|| is_cut(&mut cut)));
        assert!(world.allowed.there(|| answers(&mut stays)));
        for (out, inside) in OUTSIDE.into_iter().zip(INSIDE) {
            assert!(world.outsider.there(|| silent(at(out, 7000)) && udp_silent(at(out, 7000))), "{out}");
            assert!(
                world.allowed.there(|| reaches(at(inside, 7000)) && udp_reaches(at(inside, 7000))),
                "{inside}"
            );
        }
        assert!(reaches(at("127.0.0.1", 7000)));
        // The same port of another network namespace is nobody's business.
        assert!(world.outsider.there(|| reaches(at(BOXED[0], 7000))));
        drop(elsewhere);
        assert_eq!(listed(&id(&made)).str("sensor.rule.state"), "in_force");
        done(&format!("undo {}", id(&made)));
        assert!(world.outsider.there(|| reaches(at(OUTSIDE[0], 7000)) && udp_reaches(at(OUTSIDE[1], 7000))));
        assert!(!pins.exists());

        let first = port("close 7001 --for 1h --yes").status(4);
        let longer = port("close 7001 --for 5h --yes").status(4);
        assert_eq!(id(&longer), id(&first));
        assert!(longer.rows[0].str("sensor.rule.until") > first.rows[0].str("sensor.rule.until"));
        done(&format!("undo {}", id(&first)));

        let _outside = world.outsider.echo(7100);
        let _allowed = world.allowed.echo(7100);
        let made =
            port(&format!("isolate --allow 198.51.100.2,2001:db8:2::2 --confirm-within {}", seconds(4)))
                .status(4);
        for (mine, yours) in OUTSIDE.into_iter().zip(OUTSIDER) {
            assert!(world.outsider.there(|| silent(at(mine, 7000))), "{mine}");
            assert!(silent(at(yours, 7100)) && udp_silent(at(yours, 7100)), "{yours}");
        }
        tests::netns::ip("neigh flush all");
        for yours in ALLOWED {
            assert!(reaches(at(yours, 7100)), "{yours}");
        }
        assert_eq!(listed(&id(&made)).str("sensor.rule.state"), "unconfirmed");
        until("it is undone by itself", || !pins.exists());
        assert!(reaches(at(OUTSIDER[1], 7100)));
    });
}

#[test]
fn bad_input_and_bad_places_are_told_and_change_nothing() {
    if lacks() {
        return;
    }
    world(|_| {
        for wrong in [
            "close 0",
            "close 70000",
            "close 80/sctp",
            "close 80 --allow nobody",
            "close 80 --allow 10.0.0.1/8",
            "close 80 --allow 10.0.0.0/33",
            "close 80 --for 0",
            "close 80 --for 9999d",
            "isolate",
            "isolate --allow",
            "undo ../../etc/passwd",
            "confirm XYZ",
            "close 80 --yes --confirm-within 5",
        ] {
            assert_eq!(port(wrong).status, Some(2), "{wrong}");
        }
        assert_eq!(port("undo 0badcafe").status, Some(1));
        let nobody = run(Command::new("setpriv")
            .args(["--reuid=65534", "--clear-groups"])
            .arg(binary())
            .args(["port", "list"]));
        assert_eq!(nobody.status.code(), Some(3), "{nobody:?}");

        // A table of this name that isn't the sensor's.
        nft(
            "table inet sensor { chain input { type filter hook input priority 0; policy accept; tcp dport 1 drop comment \"sensor rule 00000000\"; } }",
        );
        let before = nft("- list ruleset");
        let refused = port("close 80 --yes");
        assert!(refused.status == Some(1) && refused.said.contains("didn't make"), "{}", refused.said);
        assert_eq!(port("list").status, Some(4));
        assert_eq!(nft("- list ruleset"), before);
        assert!(fs::read_dir("/run/sensor/rules").unwrap().next().is_none());
        nft("delete table inet sensor");

        // Nowhere to write down.
        fs::remove_dir_all("/run/sensor").unwrap();
        fs::write("/run/sensor", "").unwrap();
        assert_eq!(port("close 80 --yes").status, Some(1));
        assert!(!has_table());
    });
}
