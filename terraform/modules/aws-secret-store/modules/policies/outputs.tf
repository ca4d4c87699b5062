output "reader_policy" {
  description = "Policy document of who reads values, in every region."
  value       = local.documents.reader

  precondition {
    condition     = length(local.documents.reader) <= local.limit
    error_message = "The policy has over ${local.limit} characters, which AWS takes no more of: replicate to fewer regions."
  }
}

output "rotator_policy" {
  description = "Policy document of who rotates: the function, or a worker."
  value       = local.documents.rotator

  precondition {
    condition     = length(local.documents.rotator) <= local.limit
    error_message = "The policy has over ${local.limit} characters, which AWS takes no more of: replicate to fewer regions."
  }
}

output "administrator_policy" {
  description = "Policy document of who writes, tags, deletes, restores, purges and replicates."
  value       = local.documents.administrator

  precondition {
    condition     = length(local.documents.administrator) <= local.limit
    error_message = "The policy has over ${local.limit} characters, which AWS takes no more of: replicate to fewer regions."
  }
}
