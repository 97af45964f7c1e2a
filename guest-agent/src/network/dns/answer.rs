//! What to do with one query: a function of its bytes and the zone.

use std::net::Ipv4Addr;

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::Zone;

/// Seconds for which an answer may be kept. An address goes to the next
/// container as soon as it is free, so not for long.
const TIME_TO_LIVE: u32 = 5;

/// The largest datagram that we ask for and send (dnsflagday.net/2020).
pub(super) const PAYLOAD: u16 = 1232;

/// What to do with a query.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::network) enum Answer {
    /// Send this back.
    Reply(Vec<u8>),
    /// Ask the upstream servers; replies may be as long as this over UDP.
    Forward(usize),
    /// Not a query: no answer, lest two servers answer each other for ever.
    Drop,
}

/// Returns what to do with a query.
pub(in crate::network) fn answer(zone: &Zone, packet: &[u8]) -> Answer {
    // RFC 1035, 4.1.1: the header is 12 bytes, the first bit of the third says
    // whether it is a response.
    if packet.len() < 12 || packet[2] & 0x80 != 0 {
        return Answer::Drop;
    }
    let Ok(query) = Message::from_vec(packet) else {
        return Answer::Reply(failure(packet, ResponseCode::FormErr));
    };
    if query.metadata.op_code != OpCode::Query {
        return Answer::Reply(failure(packet, ResponseCode::NotImp));
    }
    let [question] = query.queries.as_slice() else {
        return Answer::Reply(failure(packet, ResponseCode::FormErr));
    };
    match records(zone, question) {
        Some((code, records)) => match reply(&query, code, records) {
            Some(bytes) => Answer::Reply(bytes),
            None => Answer::Reply(failure(packet, ResponseCode::ServFail)),
        },
        None => Answer::Forward(usize::from(query.max_payload())),
    }
}

/// Returns the answer to a question of ours, none to others'.
fn records(zone: &Zone, question: &Query) -> Option<(ResponseCode, Vec<Record>)> {
    if question.query_class() != DNSClass::IN {
        return None;
    }
    let name = question.name();
    if let Some(address) = reverse_address(name) {
        let wanted = matches!(question.query_type(), RecordType::PTR | RecordType::ANY);
        return Some(match zone.name(address)? {
            None => (ResponseCode::NXDomain, Vec::new()),
            Some(target) if wanted => {
                let target = Name::from_ascii(format!("{target}.")).ok()?;
                (
                    ResponseCode::NoError,
                    vec![record(name, RData::PTR(PTR(target)))],
                )
            }
            Some(_) => (ResponseCode::NoError, Vec::new()),
        });
    }
    let addresses = zone.addresses(key(name).as_str())?;
    // A name of ours has no records of other types. NXDOMAIN to a query for
    // AAAA would make resolvers take the name itself for missing.
    let records = match question.query_type() {
        RecordType::A | RecordType::ANY => addresses
            .into_iter()
            .map(|address| record(name, RData::A(A(address))))
            .collect(),
        _ => Vec::new(),
    };
    Some((ResponseCode::NoError, records))
}

/// Returns a name as the zone has it.
fn key(name: &Name) -> String {
    let mut key = name.to_ascii().to_ascii_lowercase();
    if key.ends_with('.') {
        key.pop();
    }
    key
}

/// Returns the address that "2.0.17.172.in-addr.arpa" is about (RFC 1035, 3.5).
fn reverse_address(name: &Name) -> Option<Ipv4Addr> {
    let key = key(name);
    let mut labels = key.strip_suffix(".in-addr.arpa")?.split('.').rev();
    let mut octets = [0; 4];
    for octet in &mut octets {
        *octet = labels.next()?.parse().ok()?;
    }
    labels.next().is_none().then_some(Ipv4Addr::from(octets))
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), TIME_TO_LIVE, data)
}

fn reply(query: &Message, code: ResponseCode, records: Vec<Record>) -> Option<Vec<u8>> {
    let mut message = Message::response(query.metadata.id, OpCode::Query);
    message.metadata.authoritative = true;
    message.metadata.recursion_desired = query.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    message.metadata.response_code = code;
    message.add_queries(query.queries.iter().cloned());
    message.add_answers(records);
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        message.set_edns(edns);
    }
    message.to_vec().ok()
}

/// Returns a reply that holds nothing but the failure; made of the query's
/// header alone, because nothing else of it may make sense.
pub(super) fn failure(packet: &[u8], code: ResponseCode) -> Vec<u8> {
    let mut header = [0; 12];
    let length = packet.len().min(4);
    header[..length].copy_from_slice(&packet[..length]);
    // Response, the same operation, recursion desired as it was and available.
    header[2] = 0x80 | (header[2] & 0x79);
    header[3] = 0x80 | code.low();
    header.to_vec()
}
