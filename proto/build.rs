//! Compiles the `.proto` files with protox, so that no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "wherry/v1/system.proto",
        "wherry/v1/images.proto",
        "wherry/v1/containers.proto",
        "wherry/v1/stream.proto",
        "wherry/v1/machine.proto",
    ];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
