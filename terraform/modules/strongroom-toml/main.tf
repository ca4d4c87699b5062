locals {
  credentials = ["token", "secret_id", "jwt", "password", "client_secret", "certificate_password", "secret_access_key", "session_token", "credentials"]

  # A dot would part a bare key.
  id     = strcontains(var.alias, ".") ? jsonencode(var.alias) : var.alias
  id_key = strcontains(var.alias, ".") ? jsonencode("${var.alias}-key") : "${var.alias}-key"

  # A JSON string, number, boolean or list of them is TOML too; a map's keys are quoted in both.
  auth = { for key, text in var.store.auth : key => jsonencode(text) }
  options = {
    for key, value in var.store.options :
    key => can(keys(value)) ? "{ ${join(", ", [for inner, text in value : "${jsonencode(inner)} = ${jsonencode(text)}"])} }" : jsonencode(value)
  }

  inline = {
    for name, table in { auth = local.auth, options = local.options } :
    name => "{ ${join(", ", [for key, text in table : "${key} = ${text}"])} }"
  }

  lines = {
    store = compact([
      "[store.${local.id}]",
      "url = ${jsonencode(var.store.url)}",
      length(local.auth) > 0 ? "auth = ${local.inline.auth}" : "",
      length(local.options) > 0 ? "options = ${local.inline.options}" : "",
      var.store.encrypt ? "encrypt = { keys = [${jsonencode("${var.alias}-key")}], domain = ${jsonencode(var.alias)} }" : "",
    ])

    key = var.key == null ? [] : compact([
      "[key.${local.id_key}]",
      "url = ${jsonencode(var.key)}",
      length(local.auth) > 0 ? "auth = ${local.inline.auth}" : "",
    ])

    coordinator = var.coordinator == null ? [] : concat(["[coordinator]"], [
      for key in ["url", "user", "password"] : "${key} = ${jsonencode(var.coordinator[key])}" if var.coordinator[key] != null
    ])

    rotation = var.rotation == null ? [] : compact([
      "[rotation.${local.id}]",
      "store = ${jsonencode(var.alias)}",
      "names = ${jsonencode(var.rotation.names)}",
      "rotator = ${jsonencode(var.rotation.rotator)}",
      length(local.rotator_options) > 0 ? "options = { ${join(", ", local.rotator_options)} }" : "",
      var.rotation.grace == null ? "" : "grace = ${jsonencode(var.rotation.grace)}",
      length(local.schedule) > 0 ? "schedule = { ${join(", ", local.schedule)} }" : "",
    ])

    ledger = try(var.rotation.ledger, "elsewhere") == "store" ? ["[ledger]", "url = ${jsonencode("strongroom://${var.alias}")}"] : []
  }

  rotator_options = [for key, value in try(var.rotation.options, {}) : "${key} = ${jsonencode(value)}"]

  schedule = try(var.rotation.schedule, null) == null ? [] : [
    for key, text in { every = var.rotation.schedule, timezone = var.rotation.timezone, window = var.rotation.window } :
    "${key} = ${jsonencode(text)}" if text != null
  ]

  tables = [for name in ["store", "key", "coordinator", "rotation", "ledger"] : join("\n", local.lines[name]) if length(local.lines[name]) > 0]
}
