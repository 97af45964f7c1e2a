//! A registry whose certificate a private authority vouches for.

use super::debian::Registry;
use super::image::{Image, tar};
use super::support::{Agent, not_root};
use super::*;

/// No name of the loopback, where certificates are not looked at.
const NAME: &str = "registry.wherry.test";

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_is_trusted_where_the_host_trusts_it() {
    if not_root("a_private_authority") {
        return;
    }
    let agent = Agent::start().await;
    agent.add_host(NAME);
    let registry = Registry::encrypted(NAME).await;
    let other = Registry::encrypted(NAME).await;
    let image = Image::new("amd64", &[tar(&[("file", b"content")])]);
    registry.put("app:1", &image);
    let name = format!("{NAME}:{}/app:1", registry.port());
    let before = files(&agent);
    let pull_trusting = async |authorities: Vec<Vec<u8>>, bundled: bool| {
        let trusting = access(|access| {
            access.authorities = authorities;
            access.bundled_authorities = bundled;
        });
        let change = |request: &mut PullImageRequest| {
            request.access = trusting;
            request.platform = "linux/amd64".to_owned();
        };
        pull_with(&agent, &name, change).await.result
    };
    // Nobody of those that browsers trust knows it, nor does another one's authority.
    for (authorities, bundled) in [
        (vec![], false),
        (vec![other.authority()], false),
        (vec![other.authority()], true),
    ] {
        let error = pull_trusting(authorities, bundled).await.unwrap_err();
        assert!(error.message().contains("certificate"), "{error}");
        assert_no_debris(&agent, &before).await;
    }
    for bundled in [false, true] {
        let authorities = vec![other.authority(), registry.authority()];
        let pulled = pull_trusting(authorities, bundled).await.unwrap();
        assert_eq!(pulled.up_to_date, bundled);
    }
}
