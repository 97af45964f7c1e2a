//! The embedded name server's answers, without a socket.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use proptest::prelude::*;

use crate::network::dns::{Answer, View, Zone, answer};

const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

fn zone() -> Arc<Zone> {
    let zone = Zone::new("bridge", vec!["172.17.0.0/16".parse().unwrap()]);
    let names = ["web", "web-host", "0123456789ab", "host.docker.internal"];
    zone.insert([172, 17, 0, 2].into(), &names.map(str::to_owned));
    Arc::new(zone)
}

fn view() -> View {
    View::shared(zone(), HOST, &[])
}

pub(super) fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn reply(query: &Message) -> Message {
    match answer(&view(), &query.to_vec().unwrap()) {
        Answer::Reply(bytes) => Message::from_vec(&bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

pub(super) fn addresses(message: &Message) -> Vec<Ipv4Addr> {
    let address = |data: &RData| match data {
        RData::A(address) => Some(address.0),
        _ => None,
    };
    message
        .answers
        .iter()
        .filter_map(|record| address(&record.data))
        .collect()
}

#[test]
fn container_is_found_by_name_hostname_and_short_id_in_any_case() {
    for name in ["web.", "WEB.", "web-host.", "0123456789AB."] {
        let reply = reply(&query(name, RecordType::A));
        assert_eq!(reply.metadata.id, 4711);
        assert_eq!(reply.metadata.message_type, MessageType::Response);
        assert!(reply.metadata.recursion_desired && reply.metadata.recursion_available);
        assert_eq!(reply.queries[0].name().to_ascii(), name);
        assert_eq!(addresses(&reply), [Ipv4Addr::new(172, 17, 0, 2)], "{name}");
    }
}

#[test]
fn host_is_found_and_no_container_takes_its_name() {
    for name in [
        "host.docker.internal.",
        "host.wherry.internal.",
        "gateway.docker.internal.",
    ] {
        assert_eq!(
            addresses(&reply(&query(name, RecordType::A))),
            [Ipv4Addr::new(10, 0, 2, 2)]
        );
    }
}

#[test]
fn other_types_of_a_known_name_are_empty_and_no_error() {
    for kind in [RecordType::AAAA, RecordType::MX, RecordType::TXT] {
        let reply = reply(&query("web.", kind));
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
        assert!(reply.answers.is_empty());
    }
}

#[test]
fn addresses_of_the_range_have_names() {
    let known = reply(&query("2.0.17.172.in-addr.arpa.", RecordType::PTR));
    assert_eq!(known.answers[0].data.to_string(), "web.");
    let free = reply(&query("3.0.17.172.in-addr.arpa.", RecordType::PTR));
    assert_eq!(free.metadata.response_code, ResponseCode::NXDomain);
    let foreign = query("8.8.8.8.in-addr.arpa.", RecordType::PTR)
        .to_vec()
        .unwrap();
    assert_eq!(answer(&view(), &foreign), Answer::Forward(512));
}

#[test]
fn everything_else_goes_upstream() {
    let mut message = query("example.org.", RecordType::A);
    assert_eq!(
        answer(&view(), &message.to_vec().unwrap()),
        Answer::Forward(512)
    );
    let mut edns = Edns::new();
    edns.set_max_payload(1400);
    message.set_edns(edns);
    assert_eq!(
        answer(&view(), &message.to_vec().unwrap()),
        Answer::Forward(1400)
    );
    let mut chaos = query("web.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(
        answer(&view(), &chaos.to_vec().unwrap()),
        Answer::Forward(512)
    );
}

#[test]
fn stopped_container_is_unknown() {
    let zone = zone();
    let view = View::shared(zone.clone(), HOST, &[]);
    zone.remove([172, 17, 0, 2].into());
    let bytes = query("web.", RecordType::A).to_vec().unwrap();
    assert_eq!(answer(&view, &bytes), Answer::Forward(512));
}

#[test]
fn two_containers_of_one_hostname_are_both_told() {
    let zone = zone();
    let view = View::shared(zone.clone(), HOST, &[]);
    zone.insert([172, 17, 0, 3].into(), &["web".to_owned()]);
    let bytes = query("web.", RecordType::A).to_vec().unwrap();
    let Answer::Reply(both) = answer(&view, &bytes) else {
        panic!("not ours")
    };
    assert_eq!(addresses(&Message::from_vec(&both).unwrap()).len(), 2);
    zone.remove([172, 17, 0, 2].into());
    let Answer::Reply(one) = answer(&view, &bytes) else {
        panic!("not ours")
    };
    let one = Message::from_vec(&one).unwrap();
    assert_eq!(addresses(&one), [Ipv4Addr::new(172, 17, 0, 3)]);
}

#[test]
fn nonsense_is_refused_and_responses_are_not_answered() {
    let code = |bytes: &[u8]| match answer(&view(), bytes) {
        Answer::Reply(reply) => Some(Message::from_vec(&reply).unwrap().metadata.response_code),
        _ => None,
    };
    let good = query("web.", RecordType::A).to_vec().unwrap();
    assert_eq!(
        code(&good[..good.len() - 3]),
        Some(ResponseCode::FormErr),
        "cut short"
    );
    assert_eq!(code(&good[..11]), None, "less than a header");
    let mut none = good[..12].to_vec();
    none[5] = 0;
    assert_eq!(code(&none), Some(ResponseCode::FormErr), "no question");
    let mut response = good.clone();
    response[2] |= 0x80;
    assert_eq!(answer(&view(), &response), Answer::Drop);
    let mut status = good;
    status[2] |= 0x10;
    assert_eq!(
        code(&status),
        Some(ResponseCode::NotImp),
        "operation STATUS"
    );
}

#[test]
fn own_name_server_sees_each_network_and_links_and_addresses_of_both_families() {
    let front = Arc::new(Zone::new(
        "Front",
        vec![
            "172.18.0.0/16".parse().unwrap(),
            "fd00::/64".parse().unwrap(),
        ],
    ));
    let names = ["db".to_owned(), "store".to_owned()];
    front.insert([172, 18, 0, 3].into(), &names);
    front.insert("fd00::3".parse().unwrap(), &names);
    let view = View::own(HOST);
    let links = HashMap::from([("mydb".to_owned(), "db".to_owned())]);
    view.set(vec![zone(), front], links, &[]);
    let ask = |name: &str, kind| match answer(&view, &query(name, kind).to_vec().unwrap()) {
        Answer::Reply(bytes) => Message::from_vec(&bytes).unwrap(),
        other => panic!("{name}: {other:?}"),
    };
    for name in ["db.", "store.", "mydb.", "db.front.", "DB.Front."] {
        assert_eq!(
            addresses(&ask(name, RecordType::A)),
            [Ipv4Addr::new(172, 18, 0, 3)],
            "{name}"
        );
        let six = ask(name, RecordType::AAAA);
        assert_eq!(six.answers[0].data.to_string(), "fd00::3", "{name}");
    }
    assert_eq!(
        addresses(&ask("web.bridge.", RecordType::A)),
        [Ipv4Addr::new(172, 17, 0, 2)]
    );
    assert!(ask("web.", RecordType::AAAA).answers.is_empty());
    let reverse = |name: &str| ask(name, RecordType::PTR).answers[0].data.to_string();
    assert_eq!(reverse("3.0.18.172.in-addr.arpa."), "db.front.");
    let nibbles = format!("3.{}0.0.d.f.ip6.arpa.", "0.".repeat(27));
    assert_eq!(reverse(&nibbles), "db.front.");
    let other = query("web.front.", RecordType::A).to_vec().unwrap();
    assert_eq!(
        answer(&view, &other),
        Answer::Forward(512),
        "web is not on that network"
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        answer(&view(), &bytes);
    }

    #[test]
    fn no_damaged_query_panics(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        length in any::<prop::sample::Index>(),
        six in any::<bool>(),
    ) {
        let nibbles = format!("2.{}0.0.d.f.ip6.arpa.", "0.".repeat(27));
        let name = if six { nibbles.as_str() } else { "2.0.17.172.in-addr.arpa." };
        let mut message = query(name, RecordType::PTR);
        message.set_edns(Edns::new());
        let mut bytes = message.to_vec().unwrap();
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        bytes.truncate(length.index(bytes.len() + 1));
        if let Answer::Reply(reply) = answer(&view(), &bytes) {
            prop_assert_eq!(&reply[..2], &bytes[..2]);
            prop_assert!(reply[2] & 0x80 != 0);
        }
    }
}
