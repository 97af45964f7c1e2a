//! Flows of datagrams.

use super::*;

#[tokio::test]
async fn datagrams_go_both_ways_and_each_client_has_its_flow() {
    let (ports, mut streams) = ports();
    let address = publish_one(&ports, "udp").await;
    let one = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let two = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    one.send_to(b"one", address).await.unwrap();
    let mut guest_one = soon(accept(&mut streams)).await;
    two.send_to(b"two", address).await.unwrap();
    let mut guest_two = soon(accept(&mut streams)).await;
    for (guest, client, word) in [
        (&mut guest_one, &one, b"one"),
        (&mut guest_two, &two, b"two"),
    ] {
        let frame = soon(read_frame(guest)).await.unwrap().unwrap();
        assert_eq!(frame.payload.as_ref(), word);
        write_frame(guest, Kind::Data, b"reply").await.unwrap();
        let mut buffer = [0; 16];
        let (count, from) = soon(client.recv_from(&mut buffer)).await.unwrap();
        assert_eq!((&buffer[..count], from), (&b"reply"[..], address));
    }
}

#[tokio::test]
async fn a_flow_of_datagrams_keeps_their_bounds_up_to_the_largest_and_works_on_ipv6() {
    let (ports, mut streams) = ports();
    let bound = publish(&ports, "c1", &[port("::1", 0, "udp")])
        .await
        .unwrap();
    let address = SocketAddr::new("::1".parse().unwrap(), bound[0].host_port as u16);
    let client = UdpSocket::bind("[::1]:0").await.unwrap();
    let lengths = [0, 1, 1472, 9000, 65_507];
    let mut guest = None;
    for length in lengths {
        client.send_to(&vec![b'd'; length], address).await.unwrap();
        let guest = match &mut guest {
            Some(guest) => guest,
            none => none.insert(soon(accept(&mut streams)).await),
        };
        let frame = soon(read_frame(guest)).await.unwrap().unwrap();
        assert_eq!(frame.payload.len(), length);
        write_frame(guest, Kind::Data, &frame.payload)
            .await
            .unwrap();
        let mut buffer = vec![0; 70_000];
        let (count, from) = soon(client.recv_from(&mut buffer)).await.unwrap();
        assert_eq!((count, from), (length, address));
    }
}

#[tokio::test]
async fn a_silent_flow_ends_later_if_the_container_has_answered() {
    let (mut ports, mut streams) = ports();
    ports.shorten_flows(Duration::from_millis(100), Duration::from_millis(1500));
    let address = publish_one(&ports, "udp").await;
    let (quiet, answered) = tokio::join!(
        UdpSocket::bind("127.0.0.1:0"),
        UdpSocket::bind("127.0.0.1:0")
    );
    let (quiet, answered) = (quiet.unwrap(), answered.unwrap());
    answered.send_to(b"ping", address).await.unwrap();
    let mut long = soon(accept(&mut streams)).await;
    write_frame(&mut long, Kind::Data, b"pong").await.unwrap();
    soon(answered.recv_from(&mut [0; 8])).await.unwrap();
    let begun = Instant::now();
    quiet.send_to(b"ping", address).await.unwrap();
    let mut short = soon(accept(&mut streams)).await;
    soon(read_frame(&mut short)).await.unwrap().unwrap();
    // The stream closes: the flow is over.
    assert!(!matches!(soon(read_frame(&mut short)).await, Ok(Some(_))));
    assert!(begun.elapsed() >= Duration::from_millis(100));
    // The other one goes on, on its own stream, with its own source.
    answered.send_to(b"again", address).await.unwrap();
    soon(read_frame(&mut long)).await.unwrap().unwrap();
    assert_eq!(
        soon(read_frame(&mut long))
            .await
            .unwrap()
            .unwrap()
            .payload
            .as_ref(),
        b"again"
    );
    assert!(!matches!(soon(read_frame(&mut long)).await, Ok(Some(_))));
    assert!(begun.elapsed() >= Duration::from_millis(1500));
    // A new datagram is a new flow.
    quiet.send_to(b"back", address).await.unwrap();
    let mut third = soon(accept(&mut streams)).await;
    assert_eq!(
        soon(read_frame(&mut third))
            .await
            .unwrap()
            .unwrap()
            .payload
            .as_ref(),
        b"back"
    );
}
