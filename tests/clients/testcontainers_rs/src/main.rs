//! testcontainers for Rust, with a real database in it.

use std::error::Error;
use std::time::Duration;

use postgres::{Client, NoTls};
use testcontainers::core::{ExecCommand, IntoContainerPort, WaitFor};
use testcontainers::runners::SyncRunner;
use testcontainers::{GenericImage, ImageExt};

const DATABASE: &str = "echo 'host all all all trust' > /tmp/hba.conf; \
    exec /usr/lib/postgresql/15/bin/postgres --config-file=/etc/postgresql/15/main/postgresql.conf \
    -chba_file=/tmp/hba.conf -clisten_addresses=* -cunix_socket_directories=/tmp";

fn main() -> Result<(), Box<dyn Error>> {
    let image = std::env::var("STACK_IMAGE")?;
    let server = GenericImage::new(image, "latest".to_owned())
        .with_entrypoint("sh")
        .with_exposed_port(5432.tcp())
        .with_wait_for(WaitFor::message_on_stderr("ready to accept connections"))
        .with_user("postgres")
        .with_cmd(["-c", DATABASE])
        .with_startup_timeout(Duration::from_secs(180))
        .start()?;
    // In a container itself, `get_host` would be the gateway of the engine's bridge.
    let port = server.get_host_port_ipv4(5432)?;
    let mut database = Client::connect(
        &format!("host=localhost port={port} user=postgres dbname=postgres"),
        NoTls,
    )?;
    database.batch_execute("create table t (n int); insert into t select generate_series(1, 1000)")?;
    let sum: i64 = database.query_one("select sum(n) from t", &[])?.get(0);
    assert_eq!(sum, 500_500);
    println!("  the database was asked");
    let mut said = server.exec(ExecCommand::new(["echo", "said"]))?;
    assert_eq!(said.stdout_to_vec()?, b"said\n");
    println!("  a command ran beside it");
    let id = server.id().to_owned();
    drop(server);
    println!("  {id} is gone");
    Ok(())
}
