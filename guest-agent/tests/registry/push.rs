//! Pushes and saves: what goes out is what came in.

use serde_json::Value;
use wherry_proto::frame::{Kind, read_frame};
use wherry_proto::v1::layer_progress::Stage;
use wherry_proto::v1::stream_header::Purpose;

use super::debian::Registry;
use super::image::{Image, digest, noise, tar};
use super::server::{Server, reply};
use super::support::{Agent, IMAGE, not_root, within};
use super::*;

fn image() -> Image {
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    };
    let layers = [
        tar(&[("a", &noise(200_000, 4)), ("etc/x", b"x")]),
        // Its second file of one name, and what follows the archive's end.
        [
            tar(&[("twice", b"first"), ("twice", b"second"), ("empty", b"")]),
            noise(5000, 9),
        ]
        .concat(),
    ];
    Image::new(architecture, &layers)
}

async fn tag(agent: &Agent, image: &str, name: &str) -> Result<(), Status> {
    let request = TagImageRequest {
        image: image.to_owned(),
        name: name.to_owned(),
    };
    agent.images.clone().tag(request).await.map(drop)
}

async fn push_with(
    agent: &Agent,
    name: &str,
    change: impl FnOnce(&mut PushImageRequest),
) -> Transfer {
    let mut request = PushImageRequest {
        name: name.to_owned(),
        ..Default::default()
    };
    change(&mut request);
    let events = agent.images.clone().push(request).await;
    watch(events.map(tonic::Response::into_inner)).await
}

/// The last stage of each layer, in the order they were first told.
fn ends(transfer: &Transfer) -> Vec<Stage> {
    let mut ends: Vec<(String, Stage)> = Vec::new();
    for told in &transfer.layers {
        match ends.iter_mut().find(|(id, _)| *id == told.id) {
            Some(end) => end.1 = told.stage(),
            None => ends.push((told.id.clone(), told.stage())),
        }
    }
    ends.into_iter().map(|(_, stage)| stage).collect()
}

/// The diff ids of an image as skopeo gets it from a registry, each layer
/// unpacked and hashed here.
fn diff_ids(registry: &Registry, name: &str) -> (Vec<String>, Vec<String>) {
    let layout = tempfile::tempdir().unwrap();
    registry.get(name, layout.path());
    let read = |digest: &Value| {
        let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
        std::fs::read(layout.path().join("blobs/sha256").join(hex)).unwrap()
    };
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    let index = json(&std::fs::read(layout.path().join("index.json")).unwrap());
    let manifest = json(&read(&index["manifests"][0]["digest"]));
    let config = json(&read(&manifest["config"]["digest"]));
    let said = config["rootfs"]["diff_ids"].as_array().unwrap();
    let said = said.iter().map(|id| id.as_str().unwrap().to_owned());
    let layers = manifest["layers"].as_array().unwrap().iter();
    let found = layers.map(|layer| {
        let mut bytes = Vec::new();
        let packed = read(&layer["digest"]);
        let mut reader: Box<dyn std::io::Read> =
            match layer["mediaType"].as_str().unwrap().rsplit('+').next() {
                Some("gzip") => Box::new(flate2::read::GzDecoder::new(&packed[..])),
                Some("zstd") => Box::new(zstd::Decoder::new(&packed[..]).unwrap()),
                _ => Box::new(&packed[..]),
            };
        std::io::Read::read_to_end(&mut reader, &mut bytes).unwrap();
        digest(&bytes)
    });
    (said.collect(), found.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_sends_layers_of_the_same_diff_ids_and_later_ones_nothing() {
    if not_root("a_push") {
        return;
    }
    let agent = Agent::start().await;
    let registry = Registry::private().await;
    let address = registry.address.clone();
    let push = |name: String| {
        let (agent, address) = (&agent, &address);
        async move {
            push_with(agent, &name, |request| {
                request.access =
                    access(|access| access.credentials = credential(address, "wherry", "secret"));
            })
            .await
        }
    };
    let name = format!("{address}/mine/box:1");
    let missing = push(name.clone()).await.result.unwrap_err();
    assert!(missing.message().starts_with(&format!(
        "An image does not exist locally with the tag: {address}/mine/box"
    )));
    tag(&agent, IMAGE, &name).await.unwrap();
    let refused = push_with(&agent, &name, |_| ()).await.result.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    let first = push(name.clone()).await;
    assert_eq!(ends(&first), [Stage::Pushed]);
    let first = first.result.unwrap();
    let (said, found) = diff_ids(&registry, "mine/box:1");
    assert_eq!(said, found);
    let again = push(name.clone()).await;
    assert_eq!(ends(&again), [Stage::AlreadyExists]);
    assert_eq!(again.result.unwrap().digest, first.digest);
    // To another repository of the same registry the layer is mounted.
    let other = format!("{address}/yours/box:1");
    tag(&agent, IMAGE, &other).await.unwrap();
    let mounted = push(other).await;
    assert_eq!(ends(&mounted), [Stage::Mounted]);
    assert_eq!(mounted.result.unwrap().digest, first.digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_was_pulled_is_pushed_as_it_was() {
    if not_root("an_image_that_was_pulled") {
        return;
    }
    let agent = Agent::start().await;
    let (from, to) = (Registry::start().await, Registry::start().await);
    let image = image();
    let name = from.put("app:1", &image);
    let original = pull(&agent, &name).await.unwrap().digest;
    // Where it came from has everything, so the manifest stays.
    let copy = format!("{}/other/copy:2", from.address);
    tag(&agent, &name, &copy).await.unwrap();
    let pushed = push_with(&agent, &copy, |_| ()).await;
    assert_eq!(ends(&pushed), [Stage::Mounted; 2]);
    assert_eq!(pushed.result.unwrap().digest, original);
    // Elsewhere it is packed anew, of the same streams.
    let elsewhere = format!("{}/app:1", to.address);
    tag(&agent, &name, &elsewhere).await.unwrap();
    let pushed = push_with(&agent, &elsewhere, |_| ()).await;
    assert_eq!(ends(&pushed), [Stage::Pushed; 2]);
    let (said, found) = diff_ids(&to, "app:1");
    assert_eq!(said, found);
    let id = pushed.result.unwrap().image.unwrap().id;
    assert_eq!(id, digest(&image.config));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_breaks_off_a_push_gives_an_error() {
    if not_root("a_registry_that_breaks_off") {
        return;
    }
    let agent = Agent::start().await;
    for (part, status, said) in [
        ("POST", 500, "with 500"),
        ("PATCH", 413, "with 413: too large"),
        ("PUT", 400, "with 400: digest invalid"),
    ] {
        let server = Server::start(move |request| {
            let location = format!("{}?state=1", request.path);
            let honest = match request.method.as_str() {
                "HEAD" => reply(404, ""),
                "POST" | "PATCH" => reply(202, "").with("Location", location),
                _ => reply(200, "{}"),
            };
            if request.method != part {
                return honest;
            }
            let words = if status == 413 {
                "too large"
            } else {
                "digest invalid"
            };
            let body = format!(r#"{{"errors": [{{"message": "{words}"}}]}}"#);
            match status {
                500 => reply(500, "").with("Retry-After", "0"),
                status => reply(status, body),
            }
        })
        .await;
        let name = format!("{}/app:1", server.address);
        tag(&agent, IMAGE, &name).await.unwrap();
        let error = push_with(&agent, &name, |_| ()).await.result.unwrap_err();
        assert!(error.message().contains(said), "{part}: {error}");
        let manifests = server.requests();
        let shown = manifests
            .iter()
            .any(|asked| asked.path.contains("/manifests/"));
        assert!(!shown, "{part}: the image is visible");
    }
}

async fn save(agent: &Agent, names: &[&str]) -> Result<Vec<u8>, StreamReply> {
    let images = names.iter().map(|name| (*name).to_owned()).collect();
    let (mut stream, reply) = agent.stream(Purpose::Save(SaveStream { images })).await;
    if !reply.error.is_empty() {
        return Err(reply);
    }
    let mut archive = Vec::new();
    loop {
        let frame = within(read_frame(&mut stream)).await.unwrap().unwrap();
        match frame.kind {
            Kind::Data => archive.extend_from_slice(&frame.payload),
            Kind::End => return Ok(archive),
            kind => panic!("{kind:?} {:?}", frame.payload),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_image_is_what_it_was_to_us_and_to_skopeo() {
    if not_root("a_saved_image") {
        return;
    }
    let mut agent = Agent::start().await;
    let registry = Registry::start().await;
    let image = image();
    let name = registry.put("app:1", &image);
    pull(&agent, &name).await.unwrap();
    let other = "mine/app:2";
    tag(&agent, &name, other).await.unwrap();
    let archive = save(&agent, &[&name, other, IMAGE]).await.unwrap();
    assert_eq!(save(&agent, &[&name, other, IMAGE]).await.unwrap(), archive);
    // Every blob is what its name says.
    let mut blobs = Vec::new();
    let mut docker = Value::Null;
    for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        if let Some(hex) = path.strip_prefix("blobs/sha256/") {
            assert_eq!(digest(&bytes), format!("sha256:{hex}"));
            blobs.push(digest(&bytes));
        }
        if path == "manifest.json" {
            docker = serde_json::from_slice(&bytes).unwrap();
        }
    }
    let config: Value = serde_json::from_slice(&image.config).unwrap();
    for diff_id in config["rootfs"]["diff_ids"].as_array().unwrap() {
        assert!(blobs.contains(&diff_id.as_str().unwrap().to_owned()));
    }
    assert_eq!(docker.as_array().unwrap().len(), 2);
    assert_eq!(docker[0]["RepoTags"].as_array().unwrap().len(), 2);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &archive).unwrap();
    let inspected = std::process::Command::new("skopeo")
        .args(["inspect", "--config"])
        .arg(format!("docker-archive:{}:{name}", file.path().display()))
        .output()
        .unwrap();
    assert!(inspected.status.success(), "{inspected:?}");
    // Gone and loaded again, it is the same image.
    for name in [&name, other] {
        let request = RemoveImageRequest {
            name: name.to_owned(),
            force: true,
        };
        agent.images.remove(request).await.unwrap();
    }
    let (mut stream, _) = agent.stream(Purpose::Load(LoadStream {})).await;
    wherry_proto::frame::write_bytes(&mut stream, Kind::Data, &archive)
        .await
        .unwrap();
    wherry_proto::frame::write_frame(&mut stream, Kind::End, &[])
        .await
        .unwrap();
    while within(read_frame(&mut stream)).await.unwrap().unwrap().kind != Kind::End {}
    let request = InspectImageRequest {
        name: other.to_owned(),
    };
    let again = agent.images.inspect(request).await.unwrap().into_inner();
    assert_eq!(again.id, digest(&image.config));
    assert_eq!(again.tags.len(), 2);
    let missing = save(&agent, &[other, "nothing"]).await.unwrap_err();
    assert!(missing.error.contains("nothing"), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn history_prune_and_search_answer_as_docker_does() {
    if not_root("history_prune_and_search") {
        return;
    }
    let mut agent = Agent::start().await;
    let image = image();
    let server = Server::lying(&image, |request, honest| {
        match request.path.strip_prefix("/v1/search?") {
            Some("q=web&n=25") => reply(
                200,
                r#"{"results": [{"name": "web", "star_count": 3, "is_official": true}]}"#,
            ),
            _ => honest,
        }
    })
    .await;
    let name = format!("{}/app:1", server.address);
    pull(&agent, &name).await.unwrap();
    let request = ImageHistoryRequest { name: name.clone() };
    let steps = agent
        .images
        .history(request)
        .await
        .unwrap()
        .into_inner()
        .steps;
    let sizes: Vec<u64> = steps.iter().map(|step| step.size).collect();
    assert_eq!(sizes.len(), 2);
    assert_eq!(sizes[1], 200_001);
    assert_eq!(steps[1].created_by, "a test");
    assert_eq!(
        (steps[0].id.as_str(), &steps[0].tags),
        (&*digest(&image.config), &vec![name.clone()])
    );
    // Its name moves to another image.
    tag(&agent, IMAGE, &name).await.unwrap();
    let prune = |change: fn(&mut PruneImagesRequest)| {
        let mut request = PruneImagesRequest::default();
        change(&mut request);
        let mut images = agent.images.clone();
        async move { images.prune(request).await.unwrap().into_inner() }
    };
    let none = prune(|request| request.labels = vec!["nobody".to_owned()]).await;
    assert_eq!(none, PruneImagesResponse::default());
    let pruned = prune(|_| ()).await;
    assert!(pruned.deleted.contains(&digest(&image.config)));
    assert!(pruned.reclaimed > 200_000, "{pruned:?}");
    assert_eq!(prune(|_| ()).await, PruneImagesResponse::default());
    let request = |term: String| SearchImagesRequest {
        term,
        ..Default::default()
    };
    let web = request(format!("{}/web", server.address));
    let found = agent.images.search(web).await.unwrap().into_inner().found;
    assert_eq!((found[0].name.as_str(), found[0].stars), ("web", 3));
    let other = request(format!("{}/other", server.address));
    let none = agent.images.search(other).await.unwrap_err();
    assert!(
        none.message().contains("a search is not in the registry"),
        "{none}"
    );
}
