//! Registries that lie: each time a clear error, and nothing left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tonic::Code;

use super::image::{Image, digest, gzip, noise, tar};
use super::server::{Reply, Request, Server, Then, reply};
use super::support::{Agent, not_root};
use super::*;

fn image() -> Image {
    Image::new(
        if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "amd64"
        },
        &[tar(&[("big", &noise(200_000, 7))])],
    )
}

/// Pulls from a liar, and returns the error.
async fn lied_to(
    agent: &Agent,
    image: &Image,
    lie: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static,
) -> (Code, String) {
    let before = files(agent);
    let server = Server::lying(image, lie).await;
    let name = format!("{}/app:1", server.address);
    let error = pull(agent, &name).await.unwrap_err();
    assert_no_debris(agent, &before).await;
    let request = InspectImageRequest { name };
    let seen = agent.images.clone().inspect(request).await;
    assert_eq!(seen.unwrap_err().code(), Code::NotFound);
    let message = error.message().replace(&server.address, "HOST");
    assert!(message.starts_with("the registry HOST "), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    (error.code(), message)
}

fn is_blob(request: &Request) -> bool {
    request.path.contains("/blobs/")
}

fn is_blob_of(blob: &[u8]) -> impl Fn(&Request) -> bool + Send + Sync + 'static {
    let digest = digest(blob);
    move |request| request.path.ends_with(&digest)
}

fn is_manifest(request: &Request) -> bool {
    request.path.contains("/manifests/")
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_not_what_its_digest_says_is_refused() {
    if not_root("content_that_is_not") {
        return;
    }
    let agent = Agent::start().await;
    let image = image();
    let plain = tar(&[("file", &noise(100_000, 8))]);
    let mut config: Value = serde_json::from_slice(&image.config).unwrap();
    let diff_id = config["rootfs"]["diff_ids"][0].clone();
    config["rootfs"]["diff_ids"] =
        Value::Array(vec![diff_id.clone(), diff_id, digest(&plain).into()]);
    let three = Image::of(
        config.to_string().into_bytes(),
        vec![
            image.layers[0].clone(),
            image.layers[0].clone(),
            plain.clone(),
        ],
    );
    let is_plain = is_blob_of(&plain);
    let (code, said) = lied_to(&agent, &three, move |request, mut reply| {
        if is_plain(request) {
            reply.body[1000] ^= 1;
        }
        reply
    })
    .await;
    assert!(said.contains("cannot be trusted"), "{said}");
    assert_eq!(code, Code::DataLoss, "{said}");
    // A configuration of another image.
    let (_, said) = lied_to(&agent, &image, |request, mut reply| {
        if is_blob(request) && reply.body.starts_with(b"{") {
            reply.body[2] ^= 1;
        }
        reply
    })
    .await;
    assert!(
        said.contains("the image's configuration should be sha256:"),
        "{said}"
    );
    // A manifest that its own header denies.
    let (_, said) = lied_to(&agent, &image, |request, reply| {
        let digest = digest(b"other");
        match is_manifest(request) {
            true => reply.with("Docker-Content-Digest", digest),
            false => reply,
        }
    })
    .await;
    assert!(said.contains("has the digest"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_its_configuration_denies_is_refused() {
    if not_root("a_layer_that_its_configuration_denies") {
        return;
    }
    let agent = Agent::start().await;
    let image = image();
    let mut config: Value = serde_json::from_slice(&image.config).unwrap();
    config["rootfs"]["diff_ids"][0] = digest(b"another").into();
    let lying = Image::of(config.to_string().into_bytes(), image.layers.clone());
    let (code, said) = lied_to(&agent, &lying, |_, reply| reply).await;
    assert!(said.contains("when it is unpacked and is"), "{said}");
    assert_eq!(code, Code::DataLoss);
    config["rootfs"]["diff_ids"] = Value::Array(Vec::new());
    let lying = Image::of(config.to_string().into_bytes(), image.layers.clone());
    let (_, said) = lied_to(&agent, &lying, |_, reply| reply).await;
    assert!(
        said.contains("has 1 layers and the configuration 0"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_of_another_length_is_refused() {
    if not_root("a_layer_of_another_length") {
        return;
    }
    let agent = Agent::start().await;
    let image = image();
    for (change, expected) in [(10, "ends after"), (-10, "longer than")] {
        let mut lying = image.clone();
        let size = lying.manifest["layers"][0]["size"].as_i64().unwrap();
        lying.manifest["layers"][0]["size"] = (size + change).into();
        let (code, said) = lied_to(&agent, &lying, |_, reply| reply).await;
        assert!(said.contains(expected), "{said}");
        assert_eq!(code, Code::DataLoss);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_an_end_is_cut() {
    if not_root("a_body_without_an_end") {
        return;
    }
    let agent = Agent::start().await;
    let image = image();
    let config = digest(&image.config);
    let layer = digest(&image.layers[0]);
    for (part, what) in [
        ("/manifests/1", "a manifest is longer than"),
        (&config, "the image's configuration is longer than"),
        (&layer, "is longer than the"),
    ] {
        let part = part.to_owned();
        let (code, said) = lied_to(&agent, &image, move |request, reply| {
            match request.path.ends_with(&part) {
                true => reply.then(Then::Again),
                false => reply,
            }
        })
        .await;
        assert!(said.contains(what), "{said}");
        assert_eq!(code, Code::DataLoss);
    }
    // A manifest may claim anything.
    let mut lying = image.clone();
    lying.manifest["config"]["size"] = (1_u64 << 40).into();
    let (_, said) = lied_to(&agent, &lying, |_, reply| reply).await;
    assert!(said.contains("claims 1099511627776 bytes"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_packed_in_a_layer_must_be_one() {
    if not_root("what_is_packed_in_a_layer") {
        return;
    }
    let agent = Agent::start().await;
    let before = files(&agent);
    let image = image();
    for (layer, expected) in [
        (b"no tar at all".repeat(100), "checksum is wrong"),
        (gzip(&tar(&[("a/b", b"1")])[..700]), "ends too early"),
        (gzip(&noise(5000, 3))[..2000].to_vec(), ""),
    ] {
        let lying = Image::of(image.config.clone(), vec![layer]);
        let server = Server::lying(&lying, |_, reply| reply).await;
        let error = pull(&agent, &format!("{}/app:1", server.address)).await;
        let error = error.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        assert!(error.message().contains(expected), "{error}");
        assert_no_debris(&agent, &before).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_have_an_end() {
    if not_root("redirects") {
        return;
    }
    let agent = Agent::start().await;
    let image = image();
    for part in ["/manifests/", "/blobs/"] {
        let (code, said) = lied_to(&agent, &image, move |request, honest| {
            match request.path.contains(part) {
                true => reply(307, "").with("Location", request.path.clone()),
                false => honest,
            }
        })
        .await;
        assert!(said.contains("redirects more than 10 times"), "{said}");
        assert_eq!(code, Code::DataLoss);
    }
    let (_, said) = lied_to(&agent, &image, move |request, honest| {
        match is_manifest(request) {
            true => reply(302, "").with("Location", "file:///etc/passwd"),
            false => honest,
        }
    })
    .await;
    assert!(said.contains("redirects to what is no address"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_are_made_later() {
    if not_root("too_many_requests") {
        return;
    }
    let agent = Agent::start().await;
    let image = image();
    let asked = Arc::new(AtomicUsize::new(0));
    let server = Server::lying(&image, move |request, honest| {
        match is_blob(request) && asked.fetch_add(1, Ordering::Relaxed) == 0 {
            true => reply(429, "").with("Retry-After", "2"),
            false => honest,
        }
    })
    .await;
    let begun = Instant::now();
    pull(&agent, &format!("{}/app:1", server.address))
        .await
        .unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(2));
    // For ever, they are an error.
    let (code, said) = lied_to(&agent, &image, |request, honest| {
        match is_manifest(request) {
            true => reply(
                429,
                r#"{"errors": [{"code": "TOOMANYREQUESTS", "message": "pull rate\nlimit"}]}"#,
            )
            .with("Retry-After", "0"),
            false => honest,
        }
    })
    .await;
    assert!(
        said.contains("answered GET /v2/app/manifests/1 with 429: pull rate limit"),
        "{said}"
    );
    assert_eq!(code, Code::FailedPrecondition);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_fails_is_an_error_in_the_end() {
    if not_root("a_server_that_fails") {
        return;
    }
    let agent = Agent::start().await;
    let image = image();
    for part in ["/manifests/", "/blobs/"] {
        let (code, said) = lied_to(&agent, &image, move |request, honest| {
            match request.path.contains(part) {
                true => reply(500, "<html>oh</html>").with("Retry-After", "0"),
                false => honest,
            }
        })
        .await;
        assert!(said.contains("with 500: internal server error"), "{said}");
        assert_eq!(code, Code::FailedPrecondition);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_closes_again_and_again_is_an_error() {
    if not_root("a_connection_that_closes") {
        return;
    }
    let agent = Agent::start().await;
    let image = image();
    let before = files(&agent);
    for part in ["/manifests/", "/blobs/"] {
        let server = Server::lying(&image, move |request, mut reply| {
            if request.path.contains(part) {
                reply.length = Some(reply.body.len() as u64);
                reply.body.clear();
                reply.then = Then::Close;
            }
            reply
        })
        .await;
        let error = pull(&agent, &format!("{}/app:1", server.address)).await;
        let error = error.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        assert!(
            error.message().starts_with("cannot reach the registry"),
            "{error}"
        );
        assert_no_debris(&agent, &before).await;
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let error = pull(&agent, &format!("{address}/app:1")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
}
