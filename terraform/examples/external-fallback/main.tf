# The value stands in clear in the state and in every plan file. Only for an argument that takes nothing ephemeral, in a
# provider without a write-only one; everywhere else: ephemeral "strongroom_secret".
data "external" "license" {
  program = concat(
    [var.python, "${path.module}/../../external/strongroom_external.py"],
    var.allow_state ? ["--allow-state"] : [],
  )

  query = {
    name = "vendor/license"
  }
}

# Stands for the argument that can take nothing better.
resource "terraform_data" "license" {
  input = sensitive(data.external.license.result.value)
}
