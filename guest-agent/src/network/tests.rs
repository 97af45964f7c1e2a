//! Tests of the whole network, as root, in namespaces of their own.
