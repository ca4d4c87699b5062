output "key_arn" {
  description = "ARN of the multi-Region key, for kms-replica and for kms_key_arn of other modules."
  value       = aws_kms_key.this.arn
}

output "key_id" {
  description = "Id of the key, the same in every region: mrk-…"
  value       = aws_kms_key.this.key_id
}

output "alias" {
  description = "Alias of the key in this region."
  value       = aws_kms_alias.this.name
}
