locals {
  made = toset(var.create_keys ? [for location, replica in var.replicas : location if replica.kms_key_name == null] : [])

  keys = merge(
    { for location, replica in var.replicas : location => replica.kms_key_name if replica.kms_key_name != null },
    { for location, key in google_kms_crypto_key.this : location => key.id },
  )
}

resource "google_kms_key_ring" "this" {
  for_each = local.made

  project  = var.project
  name     = local.plain
  location = each.key
}

resource "google_kms_crypto_key" "this" {
  #checkov:skip=CKV_GCP_43:key_rotation_days is 90 at most, which a validation holds
  for_each = local.made

  name            = "secrets"
  key_ring        = google_kms_key_ring.this[each.key].id
  purpose         = "ENCRYPT_DECRYPT"
  rotation_period = "${var.key_rotation_days * 86400}s"
  labels          = var.tags

  lifecycle {
    # Who destroys the key destroys every secret under it.
    prevent_destroy = true
  }
}

resource "google_kms_crypto_key_iam_member" "agent" {
  for_each = toset([for location, replica in var.replicas : location if replica.kms_key_name != null || var.create_keys])

  crypto_key_id = local.keys[each.key]
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = local.agent
}
