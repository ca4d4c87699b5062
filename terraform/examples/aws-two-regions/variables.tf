variable "package" {
  description = "Path of the zip that `strongroom --config strongroom.toml rotation package aws-lambda -o rotate.zip` made."
  type        = string
  default     = "rotate.zip"
}

variable "readers" {
  description = "ARNs of the IAM roles of the applications that read."
  type        = set(string)
  default     = []
}

variable "mail_api_key" {
  description = "The value of mail/api-key; by TF_VAR_mail_api_key, never in a file."
  type        = string
  default     = ""
  ephemeral   = true
  sensitive   = true
}

variable "mail_api_key_version" {
  description = "Counted up to write mail_api_key."
  type        = number
  default     = 1
}

variable "alarm_actions" {
  description = "ARNs of what an alarm calls."
  type        = list(string)
  default     = []
}
