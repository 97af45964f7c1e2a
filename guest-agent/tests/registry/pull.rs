//! Pulls that succeed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use wherry_proto::v1::layer_progress::Stage;

use super::debian::Registry;
use super::image::{Image, digest, index, noise, tar};
use super::server::{Server, Then, honest, reply};
use super::support::{Agent, not_root, root_file_system, within};
use super::*;

fn ours() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    }
}

fn image() -> Image {
    Image::new(
        ours(),
        &[
            // Not the one that every agent here has.
            [root_file_system(), vec![0; 10_240]].concat(),
            tar(&[("etc/motd", b"hello\n"), ("big", &noise(300_000, 1))]),
            tar(&[("etc/.wh.plain", b""), ("last", b"3")]),
        ],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_comes_from_debians_registry_by_tag_and_digest_and_runs() {
    if not_root("an_image_comes") {
        return;
    }
    let mut agent = Agent::start().await;
    let registry = Registry::start().await;
    let image = image();
    let name = registry.put("team/app:1", &image);
    let missing = pull(&agent, &format!("{}/team/app:2", registry.address)).await;
    let missing = missing.unwrap_err();
    assert_eq!(missing.code(), tonic::Code::NotFound);
    assert!(
        missing
            .message()
            .contains("team/app:2 is not in the registry")
    );

    let transfer = pull_with(&agent, &name, |_| ()).await;
    let result = transfer.result.unwrap();
    let manifest = digest(&image.manifest_bytes());
    assert_eq!((result.name.as_str(), &result.digest), (&*name, &manifest));
    assert!(!result.up_to_date);
    let last: Vec<_> = image
        .layers
        .iter()
        .map(|layer| {
            let id = digest(layer)["sha256:".len()..][..12].to_owned();
            let mut of_layer = transfer.layers.iter().rev();
            of_layer.find(|told| told.id == id).unwrap().stage()
        })
        .collect();
    assert_eq!(last, [Stage::Pulled; 3]);

    let again = pull(&agent, &name).await.unwrap();
    assert!(again.up_to_date);
    let by_digest = format!("{}/team/app@{manifest}", registry.address);
    assert!(pull(&agent, &by_digest).await.unwrap().up_to_date);
    for name in [&name, &by_digest] {
        let script = "cat /etc/motd; ls /etc/plain; wc -c </big";
        let id = agent
            .create(script, |spec| spec.image.clone_from(name))
            .await;
        agent.run(&id).await.unwrap();
        let mut output = String::new();
        while !output.contains("300000") {
            output = agent.logs(&id, |_| ()).await;
        }
        assert!(output.contains("hello\n"), "{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_pulled_by_digest_has_no_tag_and_can_be_removed_by_its_digest() {
    if not_root("an_image_pulled_by_digest") {
        return;
    }
    let mut agent = Agent::start().await;
    let registry = Registry::start().await;
    let before = files(&agent);
    let image = image();
    registry.put("app:1", &image);
    let name = format!(
        "{}/app@{}",
        registry.address,
        digest(&image.manifest_bytes())
    );
    let pulled = pull(&agent, &name).await.unwrap().image.unwrap();
    assert_eq!((pulled.tags, pulled.digests), (vec![], vec![name.clone()]));
    let request = RemoveImageRequest { name, force: false };
    agent.images.remove(request).await.unwrap();
    assert_no_debris(&agent, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_gives_the_wanted_platform() {
    if not_root("an_index") {
        return;
    }
    let agent = Agent::start().await;
    let registry = Registry::start().await;
    let (mine, other) = (image(), Image::new("s390x", &[tar(&[("other", b"1")])]));
    let attestation = Image::new("unknown", &[tar(&[("attestation", b"1")])]);
    let entries = [
        (
            &attestation,
            json!({"os": "unknown", "architecture": "unknown"}),
        ),
        (&other, json!({"os": "linux", "architecture": "s390x"})),
        (&mine, json!({"os": "linux", "architecture": ours()})),
    ];
    let index = index(&entries);
    let name = registry.put_layout("app:1", &[&mine, &other, &attestation], &index);
    let result = pull(&agent, &name).await.unwrap();
    assert_eq!(result.digest, digest(&index));
    assert_eq!(result.image.unwrap().id, digest(&mine.config));
    let result = pull_with(&agent, &name, |request| {
        request.platform = "linux/s390x".to_owned();
    });
    let result = result.await.result.unwrap();
    assert_eq!(result.image.unwrap().architecture, "s390x");
    for (platform, said) in [
        (
            "linux/mips",
            format!(
                "no variant for linux/mips, only for linux/s390x, linux/{}",
                ours()
            ),
        ),
        ("linux/a/b/c", "invalid platform".to_owned()),
    ] {
        let refused = pull_with(&agent, &name, |request| {
            request.platform = platform.to_owned();
        });
        let refused = refused.await.result.unwrap_err();
        assert!(refused.message().contains(&said), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_registry_wants_the_right_password() {
    if not_root("a_private_registry") {
        return;
    }
    let mut agent = Agent::start().await;
    let registry = Registry::private().await;
    let name = registry.put("app:1", &image());
    let address = &registry.address;
    for password in ["", "wrong"] {
        let mut request = PullImageRequest {
            name: name.clone(),
            ..Default::default()
        };
        if !password.is_empty() {
            request.access = access(|access| {
                access.credentials = credential(address, "wherry", password);
            });
        }
        let refused = agent.images.pull(request).await.unwrap().into_inner();
        let refused = watch(Ok(refused)).await.result.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unauthenticated);
        let help = format!("`wherry login {address}`");
        assert!(refused.message().contains(&help), "{refused}");
        assert!(!refused.message().contains("wrong"), "{refused}");
    }
    for (password, code) in [
        ("wrong", Some(tonic::Code::Unauthenticated)),
        ("secret", None),
    ] {
        let login = LoginRequest {
            registry: address.clone(),
            access: access(|access| access.credentials = credential(address, "wherry", password)),
        };
        let login = agent.images.login(login).await;
        assert_eq!(login.err().map(|status| status.code()), code);
    }
    let pulled = pull_with(&agent, &name, |request| {
        request.access =
            access(|access| access.credentials = credential(address, "wherry", "secret"));
    });
    pulled.await.result.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_fetched_with_the_password_and_goes_to_the_registry_alone() {
    if not_root("a_token") {
        return;
    }
    let agent = Agent::start().await;
    let image = image();
    let elsewhere = Server::lying(&image, |_, reply| reply).await;
    let storage = elsewhere.address.clone();
    let registry = Server::lying(&image, move |request, honest| {
        let here = request.field("host").unwrap();
        if request.path.starts_with("/token") {
            let right = request.field("authorization") == Some("Basic bWU6c2VjcmV0")
                && request.path.contains("service=store")
                && request.path.contains("scope=repository%3Aapp%3Apull");
            return match right {
                true => reply(200, r#"{"token": "for app"}"#),
                false => reply(401, r#"{"details": "wrong password"}"#),
            };
        }
        match request.field("authorization") {
            Some("Bearer for app") if request.path.contains("/blobs/") => {
                reply(307, "").with("Location", format!("http://{storage}{}", request.path))
            }
            Some("Bearer for app") => honest,
            _ => reply(401, "").with(
                "WWW-Authenticate",
                format!(r#"Bearer realm="http://{here}/token",service="store""#),
            ),
        }
    })
    .await;
    let name = format!("{}/app:1", registry.address);
    let refused = pull(&agent, &name).await.unwrap_err();
    assert!(refused.message().contains("wrong password"), "{refused}");
    let pulled = pull_with(&agent, &name, |request| {
        let address = &registry.address;
        request.access = access(|access| access.credentials = credential(address, "me", "secret"));
    });
    pulled.await.result.unwrap();
    let requests = elsewhere.requests();
    assert_eq!(requests.len(), 4);
    assert!(
        requests
            .iter()
            .all(|asked| asked.field("authorization").is_none())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_layer_goes_on_where_it_broke() {
    if not_root("a_broken_layer") {
        return;
    }
    let agent = Agent::start().await;
    let image = image();
    let layer = digest(&image.layers[1]);
    let total = image.layers[1].len() as u64;
    let breaks = Arc::new(AtomicUsize::new(0));
    let server = Server::lying(&image, move |request, mut reply| {
        if request.path.ends_with(&layer) && breaks.fetch_add(1, Ordering::Relaxed) < 2 {
            reply.length = Some(reply.body.len() as u64);
            reply.body.truncate(100_000);
            reply.then = Then::Close;
        }
        reply
    })
    .await;
    let result = pull(&agent, &format!("{}/app:1", server.address)).await;
    result.unwrap();
    let ranges: Vec<_> = server
        .requests()
        .iter()
        .filter(|request| request.path.ends_with(&digest(&image.layers[1])))
        .map(|request| request.field("range").map(str::to_owned))
        .collect();
    let from = |start: u64| Some(format!("bytes={start}-"));
    assert_eq!(ranges, [None, from(100_000), from(200_000)], "of {total}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_of_one_image_share_one_download() {
    if not_root("pulls_of_one_image") {
        return;
    }
    let agent = Agent::start().await;
    let image = image();
    let server = Server::lying(&image, |_, reply| reply).await;
    let name = format!("{}/app:1", server.address);
    let many = (0..8).map(|_| pull(&agent, &name));
    for result in futures_util::future::join_all(many).await {
        result.unwrap();
    }
    // The same layers under another name are no download either.
    pull(&agent, &format!("{}/other:1", server.address))
        .await
        .unwrap();
    for layer in &image.layers {
        assert_eq!(server.asked_for(layer), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_cut_off_is_invisible_and_goes_on_with_the_layers_it_had() {
    if not_root("a_pull_cut_off") {
        return;
    }
    let mut agent = Agent::start().await;
    let image = image();
    let stuck = digest(&image.layers[1]);
    let open = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let server = Server::lying(&image, {
        let open = open.clone();
        move |request, mut reply| {
            if request.path.ends_with(&stuck) && !open.load(Ordering::Relaxed) {
                reply.length = Some(reply.body.len() as u64);
                reply.body.truncate(1000);
                reply.then = Then::Silence;
            }
            reply
        }
    })
    .await;
    let name = format!("{}/app:1", server.address);
    // Once by a client that leaves, once by a power cut.
    for power_cut in [false, true] {
        let mut events = agent
            .images
            .pull(PullImageRequest {
                name: name.clone(),
                ..Default::default()
            })
            .await
            .unwrap()
            .into_inner();
        let mut done = std::collections::BTreeSet::new();
        while done.len() < 2 {
            let event = within(events.message()).await.unwrap().unwrap();
            if let Some(Event::Layer(layer)) = event.event
                && matches!(layer.stage(), Stage::Pulled | Stage::AlreadyExists)
            {
                done.insert(layer.id);
            }
        }
        if power_cut {
            agent.kill();
            agent.serve().await;
        }
        drop(events);
        let request = InspectImageRequest { name: name.clone() };
        assert!(agent.images.inspect(request).await.is_err());
        while files(&agent).iter().any(|file| file.contains("tmp/")) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    open.store(true, Ordering::Relaxed);
    pull(&agent, &name).await.unwrap();
    assert_eq!(server.asked_for(&image.layers[0]), 1);
    assert_eq!(server.asked_for(&image.layers[2]), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_asked_first_and_the_hub_where_it_fails() {
    if not_root("a_mirror") {
        return;
    }
    let agent = Agent::start().await;
    let image = image();
    let broken = Server::start(|_| reply(500, "out of order")).await;
    let good = Server::start({
        let image = image.clone();
        move |request| honest(&image, request)
    })
    .await;
    let pulled = pull_with(&agent, "app:1", |request| {
        request.access = access(|access| {
            access.mirrors = vec![
                format!("http://{}", broken.address),
                format!("http://{}", good.address),
            ];
        });
    });
    let pulled = pulled.await.result.unwrap();
    assert_eq!(pulled.name, "docker.io/library/app:1");
    assert!(!broken.requests().is_empty());
    assert!(
        good.requests()
            .iter()
            .any(|asked| asked.path == "/v2/library/app/manifests/1")
    );
}
