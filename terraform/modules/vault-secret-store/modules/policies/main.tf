locals {
  # Strongroom's own secrets stand before the prefix, so that a grant on NAME/* never reaches them.
  own = "_strongroom"

  # Each rule is a path below the mount and what it allows. A list of PREFIX asks for PREFIX/, which PREFIX/* matches.
  reader = [
    { path = "data/${var.name}/*", allows = ["read"] },
    { path = "metadata/${var.name}/*", allows = ["read", "list"] },
  ]

  rotator = concat(
    [
      { path = "data/${var.name}/*", allows = ["read", "update"] },
      { path = "metadata/${var.name}/*", allows = concat(["read"], local.lists) },
      { path = "destroy/${var.name}/*", allows = ["update"] },
      { path = "data/${local.own}/pending/${var.name}/*", allows = ["create", "read", "update"] },
      { path = "metadata/${local.own}/pending/${var.name}/*", allows = concat(["read"], local.lists) },
      { path = "destroy/${local.own}/pending/${var.name}/*", allows = ["update"] },
    ],
    flatten([for kind in ["rotation", "rotation-index"] : [
      { path = "data/${local.own}/${kind}/${var.name}/*", allows = ["create", "read", "update"] },
      { path = "metadata/${local.own}/${kind}/${var.name}/*", allows = ["read"] },
    ] if var.ledger == "store"]),
    [for kind in ["digest-key", "replication", "replication-sheet"] : { path = "data/${local.own}/${kind}/${var.name}/*", allows = ["read"] } if var.replicated],
  )
  lists = var.patterns ? ["list"] : []

  administrator = concat(
    [
      { path = "data/${var.name}/*", allows = ["create", "read", "update"] },
      { path = "metadata/${var.name}/*", allows = ["read", "list", "patch", "delete"] },
      { path = "delete/${var.name}/*", allows = ["update"] },
      { path = "undelete/${var.name}/*", allows = ["update"] },
      { path = "destroy/${var.name}/*", allows = ["update"] },
      { path = "data/${local.own}/pending/${var.name}/*", allows = ["create", "read", "update"] },
      { path = "metadata/${local.own}/pending/${var.name}/*", allows = ["read", "list", "delete"] },
      { path = "delete/${local.own}/pending/${var.name}/*", allows = ["update"] },
      { path = "undelete/${local.own}/pending/${var.name}/*", allows = ["update"] },
      { path = "destroy/${local.own}/pending/${var.name}/*", allows = ["update"] },
    ],
    # What a returning source had alone is kept under up to 26 kinds: one for each write of a name.
    [for rule in [
      { path = "data/${local.own}/+/${var.name}/*", allows = ["create", "read", "update"] },
      { path = "metadata/${local.own}/+/${var.name}/*", allows = ["read"] },
      { path = "destroy/${local.own}/+/${var.name}/*", allows = ["update"] },
    ] : rule if var.replicated],
  )

  # Who reads opens, and who writes seals too.
  on_keys = {
    reader        = ["decrypt"]
    rotator       = ["decrypt", "encrypt"]
    administrator = ["decrypt", "encrypt"]
  }

  policies = {
    for role, rules in { reader = local.reader, rotator = local.rotator, administrator = local.administrator } :
    role => join("", [for rule in concat(
      [for rule in rules : { path = "${var.mount}/${rule.path}", allows = rule.allows }],
      var.transit == null ? [] : concat(
        [{ path = "${var.transit.path}/keys/${var.transit.key}", allows = ["read"] }],
        [for act in local.on_keys[role] : { path = "${var.transit.path}/${act}/${var.transit.key}", allows = ["update"] }],
      ),
    ) : "path ${jsonencode(rule.path)} { capabilities = ${replace(jsonencode(rule.allows), "\",\"", "\", \"")} }\n"])
  }
}
