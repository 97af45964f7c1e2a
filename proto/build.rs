//! Compiles the `.proto` files with protox, so that no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "wherry/v1/system.proto",
        "wherry/v1/images.proto",
        "wherry/v1/containers.proto",
        "wherry/v1/volumes.proto",
        "wherry/v1/networks.proto",
        "wherry/v1/stream.proto",
        "wherry/v1/machine.proto",
    ];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;
    // What the agent keeps in its records goes there as JSON. A record of an
    // older version lacks the newer fields.
    let kept = [
        "ContainerSpec",
        "Mount",
        "PortBinding",
        "Resources",
        "ImageConfig",
        "HealthCheck",
        "ThrottleDevice",
        "WeightDevice",
        "Ulimit",
        "LogConfig",
        "Device",
        "NetworkAttachment",
        "NetworkEndpoint",
        "PathList",
    ];
    let mut configuration = tonic_prost_build::configure();
    for message in kept {
        let path = format!(".wherry.v1.{message}");
        configuration = configuration
            .message_attribute(&path, "#[derive(serde::Serialize, serde::Deserialize)]")
            .message_attribute(&path, "#[serde(default)]");
    }
    configuration.compile_fds(descriptors)?;
    Ok(())
}
