variable "name" {
  description = "Prefix of the store: the secret db/password is NAME__db__password in the project."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]+([._-][a-z0-9]+)*(/[a-z0-9]+([._-][a-z0-9]+)*)*$", var.name))
    error_message = "The name is lower-case letters and digits with single . _ - between, in parts joined by /."
  }

  validation {
    condition     = length(replace(replace(replace(var.name, "/", "//"), ".", "..."), "_", "____")) <= 24
    error_message = "The name has at most 24 units (a letter, digit or dash is 1, / 2, . 3, _ 4), so that every secret fits every provider."
  }
}

variable "project" {
  description = "Project that holds the secrets, by its id."
  type        = string
  nullable    = false
}

variable "secrets" {
  description = "The secrets, by Strongroom's names. Tags are the annotations that a secret is born with; later `strongroom tag` changes them."
  type = map(object({
    description = optional(string)
    rotate      = optional(bool, false)
    tags        = optional(map(string), {})
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for name in keys(var.secrets) : can(regex("^[a-z0-9]+([._-][a-z0-9]+)*(/[a-z0-9]+([._-][a-z0-9]+)*)*$", name))])
    error_message = "A secret's name is lower-case letters and digits with single . _ - between, in parts joined by /."
  }
}

variable "values" {
  description = "Values by name. Never in state or plan; given at every apply in which value_versions asks for a write."
  type        = map(string)
  default     = {}
  nullable    = false
  ephemeral   = true
  sensitive   = true
}

variable "value_versions" {
  description = "By name, a number of yours: a new one writes the value. A name that is not here gets no value from Terraform; nothing with rotate = true may be: see the README."
  type        = map(number)
  default     = {}
  nullable    = false

  validation {
    condition     = length(setsubtract(keys(var.value_versions), keys(var.secrets))) == 0
    error_message = "value_versions names a secret that `secrets` does not have."
  }

  validation {
    condition     = alltrue([for number in values(var.value_versions) : number >= 1 && floor(number) == number])
    error_message = "A value's version is a whole number from 1: below it, the provider would keep the value in state."
  }

  validation {
    condition     = !anytrue([for name in keys(var.value_versions) : try(var.secrets[name].rotate, false)])
    error_message = "The first value of a secret with rotate = true is put by `strongroom put`, or the resource strongroom_secret: Google's own would put it again once the rotation has destroyed it."
  }
}

variable "replicas" {
  description = "Locations that every secret is kept in, each with the KMS key of that location; without a key one is made there, unless create_keys is false. Empty for automatic replication under Google's own key."
  type = map(object({
    kms_key_name = optional(string)
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for location in keys(var.replicas) : can(regex("^[a-z]+(-[a-z]+)+[0-9]{1,2}$", location))])
    error_message = "A location is written as europe-west6."
  }
}

variable "create_keys" {
  description = "Whether a location without a key of its own gets one, in a key ring of this module."
  type        = bool
  default     = true
  nullable    = false
}

variable "key_rotation_days" {
  description = "How often the keys made here rotate, in days."
  type        = number
  default     = 90
  nullable    = false

  validation {
    condition     = var.key_rotation_days >= 1 && var.key_rotation_days <= 90
    error_message = "Keys rotate every 1 to 90 days."
  }
}

variable "deletion_protection" {
  description = "Whether Terraform refuses to destroy a secret. Google has no bin: what is destroyed is gone."
  type        = bool
  default     = true
  nullable    = false
}

variable "readers" {
  description = "Members that read values, such as serviceAccount:app@PROJECT.iam.gserviceaccount.com."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "rotators" {
  description = "Members that rotate, beside this module's function."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "administrators" {
  description = "Members that write, tag, purge and replicate."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "rotation" {
  description = "How what has rotate = true is rotated: rotator and its options, schedule, window, timezone and grace, for strongroom_toml. `package` is the zip of `strongroom rotation package google`; with it the functions are made, in `location`. Null for none."
  type = object({
    rotator       = string
    options       = optional(any, {})
    schedule      = optional(string, "rate(30 days)")
    timezone      = optional(string, "UTC")
    window        = optional(string)
    grace         = optional(string, "2h")
    package       = optional(string)
    location      = optional(string)
    runtime       = optional(string, "python313")
    memory        = optional(string, "512M")
    environment   = optional(map(string), {})
    tick          = optional(string, "*/15 * * * *")
    vpc_connector = optional(string)
  })
  default = null

  validation {
    condition     = var.rotation == null || anytrue([for secret in values(var.secrets) : secret.rotate])
    error_message = "A rotation needs a secret with rotate = true."
  }

  validation {
    condition     = try(var.rotation.package, null) == null || try(var.rotation.location, null) != null
    error_message = "The functions need a location."
  }
}

variable "ledger" {
  description = "Where it is recorded how far rotations have come: \"store\" in the store itself, \"elsewhere\" in a [ledger] of your own, such as PostgreSQL."
  type        = string
  default     = "store"
  nullable    = false

  validation {
    condition     = contains(["store", "elsewhere"], var.ledger)
    error_message = "The ledger is in the store, or elsewhere."
  }
}

variable "alarm_actions" {
  description = "Notification channels of Cloud Monitoring that are told when the function fails, or nobody looks for what is due."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "auth" {
  description = "What stands under auth in strongroom_toml; empty for the SDK's own chain. Credentials are references, never themselves."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "tags" {
  description = "Labels of everything that has some."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for key, text in var.tags : can(regex("^[a-z][a-z0-9_-]{0,62}$", key)) && can(regex("^[a-z0-9_-]{0,63}$", text))])
    error_message = "Google's labels are lower-case letters, digits, _ and -."
  }
}
