# Both demo services, compiled here, in one image. From the root of the checkout:
#   docker build -f envoy/services/source.Dockerfile .
# The target of this image is musl: the binaries need nothing but a kernel.
FROM rust:1.91-alpine AS build
WORKDIR /checkout
COPY . .
RUN cargo build --locked --profile tools -p mesh-jwt-demo

FROM scratch
COPY --from=build /checkout/target/tools/auth-service /checkout/target/tools/user-service /
