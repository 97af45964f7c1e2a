//! What to do with one query: a function of its bytes and of what is seen.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::View;

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
pub(in crate::network) fn answer(view: &View, packet: &[u8]) -> Answer {
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
    match records(view, question) {
        Some((code, records)) => match reply(&query, code, records) {
            Some(bytes) => Answer::Reply(bytes),
            None => Answer::Reply(failure(packet, ResponseCode::ServFail)),
        },
        None => Answer::Forward(usize::from(query.max_payload())),
    }
}

/// Returns the answer to a question of ours, none to others'.
fn records(view: &View, question: &Query) -> Option<(ResponseCode, Vec<Record>)> {
    if question.query_class() != DNSClass::IN {
        return None;
    }
    let name = question.name();
    if let Some(address) = reverse_address(name) {
        let wanted = matches!(question.query_type(), RecordType::PTR | RecordType::ANY);
        return Some(match view.name(address)? {
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
    let addresses = view.addresses(key(name).as_str())?;
    // A name of ours has no records of other types. NXDOMAIN to a query for
    // AAAA would make resolvers take the name itself for missing.
    let wanted = question.query_type();
    let records = addresses.into_iter().filter_map(|address| {
        let data = match (address, wanted) {
            (IpAddr::V4(address), RecordType::A | RecordType::ANY) => RData::A(A(address)),
            (IpAddr::V6(address), RecordType::AAAA | RecordType::ANY) => RData::AAAA(AAAA(address)),
            _ => return None,
        };
        Some(record(name, data))
    });
    Some((ResponseCode::NoError, records.collect()))
}

/// Returns a name as the zone has it.
fn key(name: &Name) -> String {
    let mut key = name.to_ascii().to_ascii_lowercase();
    if key.ends_with('.') {
        key.pop();
    }
    key
}

/// Returns the address that "2.0.17.172.in-addr.arpa" is about (RFC 1035, 3.5),
/// or 32 digits before "ip6.arpa" (RFC 3596, 2.5).
fn reverse_address(name: &Name) -> Option<IpAddr> {
    let key = key(name);
    if let Some(digits) = key.strip_suffix(".ip6.arpa") {
        let mut number = 0_u128;
        let mut count = 0;
        for digit in digits.split('.').rev() {
            let one = digit.len() == 1 && count < 32;
            let value = char::from(*digit.as_bytes().first()?).to_digit(16);
            number = number << 4 | u128::from(value.filter(|_| one)?);
            count += 1;
        }
        return (count == 32).then(|| Ipv6Addr::from_bits(number).into());
    }
    let mut labels = key.strip_suffix(".in-addr.arpa")?.split('.').rev();
    let mut octets = [0; 4];
    for octet in &mut octets {
        *octet = labels.next()?.parse().ok()?;
    }
    let whole = labels.next().is_none();
    whole.then(|| Ipv4Addr::from(octets).into())
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
