# The same image from what `make static` has compiled: it needs no other image, so no registry. A
# file of its own, since engines without BuildKit build all stages of a file.
FROM scratch
COPY dist/static/ /
