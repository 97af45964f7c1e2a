//! How much space containers and volumes take.

use std::sync::Arc;

use wherry_proto::v1;

use super::error::Error;
use super::volume::directory_size;
use super::{Containers, blocking};

impl Containers {
    /// Returns what images, containers and volumes take on the data disk.
    ///
    /// # Errors
    ///
    /// Where the volumes cannot be listed.
    pub(crate) async fn disk_usage(self: &Arc<Self>) -> Result<v1::DiskUsageResponse, Error> {
        let volumes = self.list_volumes(true).await?;
        let containers = self.clone();
        blocking(move || {
            let all = containers.all();
            let (images, layers) = containers.images.sizes();
            let users = |id: &str| {
                let made = all.iter().filter(|made| made.cell().record.image_id == id);
                made.count() as u32
            };
            let images = images.iter().map(|image| v1::ImageUsage {
                image: Some((&image.record).into()),
                unique: image.unique,
                containers: users(&image.record.id()),
            });
            let sizes = all.iter().map(|container| v1::ContainerUsage {
                container: Some(container.describe()),
                size: directory_size(&container.paths.directory.join("upper")),
            });
            Ok(v1::DiskUsageResponse {
                images: images.collect(),
                containers: sizes.collect(),
                volumes,
                layers,
            })
        })
        .await
    }
}
